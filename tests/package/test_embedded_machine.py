"""Updates of the model on a whole arm64 machine: A to B, a bad version, power failures, and the real `rauc install`."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.package import registry
from edgehone.package.targets.embedded import firmware
from edgehone.package.write import Order, Packed, pack
from tests.package.arm64_machine import KERNEL, NEEDED, RAUC, Machine, debian_tree, rauc_disk
from tests.package.embedding import demo_bundle, make_signer, packed  # noqa: F401  fixtures

KILLS = 20
pytestmark = [pytest.mark.real, pytest.mark.long]


@pytest.fixture
def images(packed: Packed, tmp_path: Path) -> Mapping[str, Path]:  # noqa: F811
    """The images v1, v2 and bad."""
    _check_programs(NEEDED)
    made = {}
    for name in ("v1", "v2", "bad"):
        tree = tmp_path / name
        tree.mkdir()
        for file in ("edgehone-runner", "model.gguf"):
            shutil.copy2(packed.path / "demo" / file, tree / file)
        (tree / "release").write_text(name)
        if name == "bad":
            (tree / "model.gguf").write_bytes(b"GGUF" + bytes(4096))
        made[name] = tmp_path / f"{name}.img"
        firmware._image(tree, made[name], 1_700_000_000, name)
    return made


def _check_programs(needed: Mapping[str, str]) -> None:
    if missing := {name: package for name, package in needed.items() if shutil.which(name) is None}:
        pytest.skip(f"not installed: {', '.join(missing)} (apt install {' '.join(missing.values())})")


def _machine(packed: Packed, folder: Path, updates: Mapping[str, Path]) -> Machine:  # noqa: F811
    system = packed.path / "rauc" / "system"
    scripts = {
        "hook.sh": packed.path / "rauc" / "content" / "hook.sh",
        "confirm.sh": system / "edgehone-demo-confirm.sh",
        "fallback.sh": system / "edgehone-demo-fallback.sh",
    }
    (place := folder / "machine").mkdir()
    return Machine.make(debian_tree(folder / "kernel", *KERNEL), place, scripts, updates)


def test_update_bad_version_and_power_failures(
    packed: Packed,  # noqa: F811
    images: Mapping[str, Path],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    machine = _machine(packed, tmp_path, {f"{name}.img": path for name, path in images.items()})
    first = machine.boot("install=v1")
    assert "INSTALLED v1" in first and "RELEASE v1 TEXT" in first, first
    begun = time.monotonic()
    second = machine.boot("install=v2")
    seconds = time.monotonic() - begun
    assert "RELEASE v2 TEXT" in second
    bad = machine.boot("install=bad")
    assert "INSTALLED bad" in bad and "went back to" in bad and "RELEASE v2 TEXT" in bad
    assert "RELEASE v2 TEXT" in machine.boot("run")

    moments = random.Random(7)
    seen = []
    for kill in range(KILLS):
        name = f"v{1 + kill % 2}"
        with subprocess.Popen(
            machine.command(f"install={name}"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as running:
            time.sleep(moments.uniform(0.2, seconds))
            running.kill()
        told = machine.boot("run")
        assert "RELEASE v1 TEXT" in told or "RELEASE v2 TEXT" in told, told
        seen.append("v1" if "RELEASE v1" in told else "v2")
    record_property("releases after power failures", " ".join(seen))


def test_rauc_installs_what_its_keyring_trusts(
    demo_bundle: Path,  # noqa: F811
    packed: Packed,  # noqa: F811
    images: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    """`rauc install` of Debian, on arm64, of the package's own bundle and of others."""
    _check_programs({"rauc": "rauc", "mksquashfs": "squashfs-tools"})
    trusted, other = make_signer(tmp_path, "trusted"), make_signer(tmp_path, "other")
    options = {"rauc-cert": str(trusted[0]), "rauc-key": str(trusted[1]), "threads": "1"}
    signed = pack(demo_bundle, Order(registry.load("embedded"), tmp_path / "signed", options))
    assert all(one.outcome == "passed" for one in signed.checks if "rauc" in one.name), signed.checks
    updates = {"packaged.raucb": signed.path / "demo.raucb"}
    for name, (image, signer, compatible) in {
        "v1": ("v1", trusted, "edgehone-demo"),
        "v2": ("v2", trusted, "edgehone-demo"),
        "bad": ("bad", trusted, "edgehone-demo"),
        "foreign": ("v1", other, "edgehone-demo"),
        "elsewhere": ("v1", trusted, "edgehone-other"),
    }.items():
        content = tmp_path / f"{name}-content"
        shutil.copytree(packed.path / "rauc" / "content", content)
        shutil.copyfile(images[image], content / "model.img")
        manifest = content / "manifest.raucm"
        manifest.write_text(manifest.read_text().replace("=edgehone-demo", f"={compatible}"))
        updates[f"{name}.raucb"] = tmp_path / f"{name}.raucb"
        firmware.bundle(content, updates[f"{name}.raucb"], tmp_path, *signer)
    machine = _machine(packed, tmp_path, updates)
    settings = packed.path / "rauc" / "system" / "system.conf"
    tools = rauc_disk(
        debian_tree(tmp_path / "rauc-root", *RAUC), settings, trusted[0], tmp_path / "rauc.disk"
    )
    machine = replace(machine, tools=tools)

    def after(name: str, *wanted: str) -> None:
        told = machine.boot(f"rauc={name}")
        assert not [one for one in wanted if one not in told], told

    after("packaged", "INSTALLED packaged", "RELEASE none TEXT")
    after("v1", "INSTALLED v1", "RELEASE v1 TEXT")
    after("v2", "INSTALLED v2", "RELEASE v2 TEXT")
    after("foreign", "REFUSED foreign", "RELEASE v2 TEXT")
    after("elsewhere", "REFUSED elsewhere", "Compatible mismatch", "RELEASE v2 TEXT")
    after("bad", "INSTALLED bad", "went back to", "RELEASE v2 TEXT")
    assert "RELEASE v2 TEXT" in machine.boot("run")

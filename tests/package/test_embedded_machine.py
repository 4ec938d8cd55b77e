"""Updates of the model on a whole arm64 machine: A to B, a bad version, and power failures at random moments."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgehone.package.targets.embedded import firmware
from edgehone.package.write import Packed
from tests.package.arm64_machine import NEEDED, Machine, kernel_tree
from tests.package.test_embedded import demo_bundle, packed  # noqa: F401  fixtures

KILLS = 20
pytestmark = [pytest.mark.real, pytest.mark.long]


@pytest.fixture
def machine(packed: Packed, tmp_path: Path) -> Machine:  # noqa: F811
    """A machine with the images v1, v2 and bad."""
    if missing := {name: package for name, package in NEEDED.items() if shutil.which(name) is None}:
        pytest.skip(f"not installed: {', '.join(missing)} (apt install {' '.join(missing.values())})")
    images = {}
    for name in ("v1", "v2", "bad"):
        tree = tmp_path / name
        tree.mkdir()
        for file in ("edgehone-runner", "model.gguf"):
            shutil.copy2(packed.path / "demo" / file, tree / file)
        (tree / "release").write_text(name)
        if name == "bad":
            (tree / "model.gguf").write_bytes(b"GGUF" + bytes(4096))
        images[name] = tmp_path / f"{name}.img"
        firmware._image(tree, images[name], 1_700_000_000, name)
    system = packed.path / "rauc" / "system"
    scripts = {
        "hook.sh": packed.path / "rauc" / "content" / "hook.sh",
        "confirm.sh": system / "edgehone-demo-confirm.sh",
        "fallback.sh": system / "edgehone-demo-fallback.sh",
    }
    (folder := tmp_path / "machine").mkdir()
    return Machine.make(kernel_tree(tmp_path / "debian"), folder, scripts, images)


def test_update_bad_version_and_power_failures(
    machine: Machine, record_property: Callable[[str, object], None]
) -> None:
    first = machine.boot("install=v1")
    assert "INSTALLED v1" in first and "RELEASE v1 TEXT" in first
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

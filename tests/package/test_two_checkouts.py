"""Two people with a checkout each package one bundle: the same bytes, for every target."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.bundle.read import read
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.conformance import tiny_gguf
from edgehone.execution.source_digest import package_path
from edgehone.package import registry
from tests.finished import list_again
from tests.package.manifests import IMAGE
from tests.package.mobile import bundle_with, contents

pytestmark = pytest.mark.long
# Files that stand for an artifact, by its backend.
FILES = {
    "llamacpp": ("model.gguf",),
    "mlx": ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    "openvino": (
        "openvino_model.xml",
        "openvino_model.bin",
        "openvino_tokenizer.xml",
        "openvino_detokenizer.xml",
    ),
}
# Who built the bundle, and the options that a target asks for.
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "android": ("llamacpp", {}),
    "desktop": ("llamacpp", {}),
    "ios": ("mlx", {}),
    "kubernetes": ("llamacpp", {"image": IMAGE, "unsigned": "yes"}),
    "kubernetes with the model in an image": (
        "llamacpp", {"image": IMAGE, "unsigned": "yes", "model": "image-volume", "repository": "r.example/m"},
    ),
    "onnxruntime": ("onnxruntime", {}),
    "ovms": ("openvino", {}),
    "triton": ("onnxruntime", {}),
}  # fmt: skip
# Their tests build twice: images in two storages, and the folder of a runner, which is compiled once on a machine.
ELSEWHERE = {"container", "embedded"}


@pytest.fixture
def made(request: pytest.FixtureRequest, spoiled: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Make a bundle of a backend: a real one of ONNX Runtime, and files that stand for one in an empty home."""

    def make(backend: str) -> Path:
        if backend not in FILES:
            request.getfixturevalue("real_home")
            return Path(request.getfixturevalue("digits_bundle"))
        request.getfixturevalue("own_home")
        gguf = tiny_gguf.write(tmp_path / "tiny.gguf").read_bytes()
        files = {name: gguf if name.endswith(".gguf") else b"{}" for name in FILES[backend]}
        bundle_with(spoiled, backend, files)
        manifest = replace(read(spoiled).manifest, canaries=({"prompt": [1], "answer": [2]},))
        (spoiled / MANIFEST).write_text(text_of(manifest.to_json()), "utf-8")
        list_again(spoiled)
        return spoiled

    return make


@pytest.mark.parametrize("case", CASES)
def test_a_package_has_the_same_bytes(case: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    target, (backend, options) = case.partition(" ")[0], CASES[case]
    bundle = made(backend)
    own = package_path("edgehone")
    other = tmp_path / "a second checkout" / "edgehone"
    shutil.copytree(own, other, ignore=shutil.ignore_patterns("__pycache__"))
    moved = Path(shutil.copytree(bundle, tmp_path / "received" / "other-name"))
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    packages = [
        _packed(target, options, bundle, own, tmp_path / "first", "UTC", 0o022),
        _packed(target, options, moved, other, tmp_path / "x" / "second", "Pacific/Kiritimati", 0o077),
    ]
    first, second = map(contents, packages)
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []
    modes = [{name: (folder / name).stat().st_mode for name in first} for folder in packages]
    assert modes[0] == modes[1]


def test_every_target_is_packaged_twice() -> None:
    assert {case.partition(" ")[0] for case in CASES} | ELSEWHERE == set(registry.names())


def _packed(
    target: str, options: dict[str, str], bundle: Path, package: Path, out: Path, zone: str, mask: int
) -> Path:
    """Package a bundle by the edgehone in the folder `package`, in a process of its own."""
    words = [
        sys.executable,
        "-m",
        "edgehone.cli.main",
        "package",
        str(bundle),
        "--for",
        target,
        "--unapproved",
    ]
    words += [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    variables = {**os.environ, "PYTHONPATH": str(package.parent), "TZ": zone}
    out.parent.mkdir(exist_ok=True)
    at = out.parent / f"{out.name} cwd"
    at.mkdir()
    which = [sys.executable, "-c", "import edgehone; print(edgehone.__file__)"]
    imported = subprocess.run(which, env=variables, cwd=at, capture_output=True, text=True, check=True)
    assert imported.stdout.strip() == str(package / "__init__.py")
    done = subprocess.run(
        [*words, "--out", str(out)],
        env=variables, cwd=at, umask=mask, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out

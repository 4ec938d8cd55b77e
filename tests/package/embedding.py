"""A package for arm64 of the demo model, and its signer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import edgehone
from edgehone.backends import registry as backends
from edgehone.backends.llamacpp.runner.machines import machine_of
from edgehone.backends.llamacpp.tools import Toolchain
from edgehone.bundle.schema import text_of
from edgehone.execution.environments import environment
from edgehone.model.digest import digest_model
from edgehone.package import registry
from edgehone.package.write import Order, Packed, pack
from tests.finished import list_again

ARM = machine_of("arm64")
NEEDED = {
    ARM.emulator: ARM.emulator_package,
    ARM.compilers[0]: "gcc-aarch64-linux-gnu",
    ARM.compilers[1]: "g++-aarch64-linux-gnu",
}


def make_signer(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=updates"]
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def demo_bundle(bundle_of: Callable[[str], Path], demo_model: Path, tmp_path: Path) -> Path:
    """A bundle of the demo model in 8 bits, whose original is the demo model. Half precision is slow to emulate."""
    if missing := {name: package for name, package in NEEDED.items() if shutil.which(name) is None}:
        pytest.skip(f"not installed: {', '.join(missing)} (apt install {' '.join(missing.values())})")
    bundle = bundle_of("llamacpp")
    (bundle / "artifact" / "model.gguf").rename(tmp_path / "half.gguf")
    quantize(tmp_path / "half.gguf", bundle, "Q8_0")
    manifest = edgehone.read(bundle).manifest
    digest = digest_model(edgehone.inspect(demo_model), tmp_path / "digests")
    facts = replace(manifest, model={**manifest.model, "name": "demo", "digest": digest})
    (bundle / "manifest.json").write_text(text_of(facts.to_json()))
    list_again(bundle)
    return bundle


def quantize(half: Path, bundle: Path, kind: str) -> None:
    """Write the artifact of a bundle in a type of llama.cpp, from the file in half precision."""
    toolchain = environment.ensure("llamacpp", backends.load("llamacpp").NEEDS, lambda what: None).toolchain
    program = str(Toolchain.at(toolchain).tool("llama-quantize"))
    words = [program, str(half), str(bundle / "artifact" / "model.gguf"), kind]
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def packed(demo_bundle: Path, tmp_path: Path) -> Packed:
    """A package for arm64 of the demo model."""
    return pack(demo_bundle, Order(registry.load("embedded"), tmp_path / "package", {"threads": "1"}))

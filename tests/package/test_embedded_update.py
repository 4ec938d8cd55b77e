"""Updates of the target `embedded`: RAUC bundles, and the scripts that install, confirm and fall back."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgehone.core.errors import InputError, SetupError
from edgehone.package.targets.embedded import firmware
from tests.package.embedding import make_signer


@pytest.fixture
def signer(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key, as a device's keyring trusts them."""
    return make_signer(tmp_path, "rauc")


@pytest.fixture
def rauc_content(tmp_path: Path) -> Path:
    """The content of a RAUC bundle, as the target writes it."""
    if missing := [name for name in ("rauc", "mksquashfs") if shutil.which(name) is None]:
        pytest.skip(f"not installed: {' '.join(missing)} (apt install rauc squashfs-tools)")
    content = tmp_path / "content"
    content.mkdir()
    (content / "model.img").write_bytes(np.random.default_rng(1).bytes(64_000))
    values = {"compatible": "box", "version": "1", "name": "demo", "architecture": "arm64", "cpu": "armv8-a"}
    (content / "manifest.raucm").write_text(firmware._filled("manifest.raucm", values))
    firmware._program(content / "hook.sh", "#!/bin/sh\n")
    return content


def test_a_signed_rauc_bundle_is_that_signer_s(
    rauc_content: Path, signer: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "demo.raucb"
    firmware.bundle(rauc_content, target, tmp_path, *signer)

    def info(keyring: Path) -> int:
        words = ["rauc", "info", f"--keyring={keyring}", str(target)]
        return subprocess.run(words, capture_output=True, check=False).returncode

    assert info(signer[0]) == 0
    other = tmp_path / "other.crt"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=other",
        "-keyout",
        "/dev/null",
    ]
    subprocess.run([*words, "-out", str(other)], check=True, capture_output=True)
    assert info(other) != 0
    content = bytearray(target.read_bytes())
    content[len(content) // 3] ^= 1
    target.write_bytes(content)
    assert subprocess.run(["rauc", "extract", f"--keyring={signer[0]}", str(target), str(tmp_path / "out")],
                          capture_output=True, check=False).returncode != 0  # fmt: skip


@pytest.mark.parametrize("wrong", ["missing", "no certificate", "another key"])
def test_a_signer_that_rauc_does_not_take_is_told(
    rauc_content: Path, signer: tuple[Path, Path], tmp_path: Path, wrong: str
) -> None:
    certificate, key = signer
    if wrong == "missing":
        certificate = tmp_path / "nowhere.crt"
    elif wrong == "no certificate":
        certificate = key
    else:
        words = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)]
        subprocess.run(words, check=True, capture_output=True)
    with pytest.raises((InputError, SetupError)) as caught:
        firmware.bundle(rauc_content, tmp_path / "demo.raucb", tmp_path, certificate, key)
    assert "--set rauc-cert=FILE" in str(caught.value.hint)
    assert not (tmp_path / "demo.raucb").exists()


@pytest.fixture
def scripts(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script of the target as it is installed on a device called `box`, on a data folder of the test."""
    values = {"name": "box", "unit": "edgehone-box", "mount": "opt-edgehone-box"}

    def call(name: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / name
        firmware._program(script, firmware._filled(name, values))
        environment = {**os.environ, "EDGEHONE_DATA": str(tmp_path / "data"), **more}
        return subprocess.run(
            [str(script), *words], env=environment, capture_output=True, text=True, check=False
        )

    return call


def installed(tmp_path: Path) -> str:
    return (tmp_path / "data" / "current").read_text()


def test_update_confirm_and_fall_back(
    tmp_path: Path, scripts: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    def install(version: str) -> None:
        (tmp_path / "new.img").write_text(version)
        assert scripts("hook.sh", "slot-install", RAUC_IMAGE_NAME=str(tmp_path / "new.img")).returncode == 0

    install("v1")
    scripts("confirm.sh")
    install("v2")
    assert installed(tmp_path) == "v2"
    scripts("confirm.sh")
    install("bad")
    assert installed(tmp_path) == "bad"
    assert scripts("fallback.sh").returncode == 0
    assert installed(tmp_path) == "v2"
    again = scripts("fallback.sh")
    assert again.returncode == 1 and "no earlier model" in again.stderr
    assert installed(tmp_path) == "v2"


def test_a_model_on_trial_does_not_replace_the_last_good_one(
    tmp_path: Path, scripts: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    new = tmp_path / "new.img"
    for version in ("good", "on trial"):
        new.write_text(version)
        assert scripts("hook.sh", "slot-install", RAUC_IMAGE_NAME=str(new)).returncode == 0
        if version == "good":
            scripts("confirm.sh")
    new.unlink()
    assert scripts("hook.sh", "slot-install", RAUC_IMAGE_NAME=str(new)).returncode != 0
    assert installed(tmp_path) == "good"


def test_a_failed_copy_leaves_the_current_model(
    tmp_path: Path, scripts: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "new.img").write_text("v1")
    scripts("hook.sh", "slot-install", RAUC_IMAGE_NAME=str(tmp_path / "new.img"))
    failed = scripts("hook.sh", "slot-install", RAUC_IMAGE_NAME=str(tmp_path / "missing.img"))
    assert failed.returncode != 0
    assert installed(tmp_path) == "v1"

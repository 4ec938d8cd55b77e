"""Checks of the package: its program under QEMU, and by systemd-analyze, e2fsck and rauc."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgehone.backends.llamacpp.runner.machines import architectures, cpus, machine_of
from edgehone.core.errors import SetupError
from edgehone.package import runner
from edgehone.package.target import Built, Check, Proof
from edgehone.package.targets.embedded import firmware

# `systemd-analyze security` gives 0 (best) to 10; below 2 it says OK.
_MOST_EXPOSURE = 2.0


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Run each program that is installed, and name the others."""
    place = folder / built.deliverables[0].path
    return (_runner(place, built.runs_on), *_units(place, scratch), _image(folder), _rauc(folder, scratch))


def _runner(place: Path, runs_on: Proof | None) -> Check:
    """Let the program generate a token with the model, under QEMU if it is for another processor."""
    machines = [machine_of(one, cpu) for one in architectures() for cpu in cpus(one)]
    machine = next(one for one in machines if runner.proof_of(one) == runs_on)
    try:
        emulator = runner.emulator_of(machine)
    except SetupError as error:
        return Check(f"a token on {machine.cpu}", "skipped", f"{error.message}: {error.hint}")
    words = ("--prompt", "The", "--tokens", "1", "--threads", "1", "--context", "64")
    told = _run(*emulator, str(place / "edgehone-runner"), str(place / "model.gguf"), *words)
    return _judged(f"a token on {machine.cpu}", told.returncode == 0, told.stderr)


def _units(place: Path, scratch: Path) -> list[Check]:
    names = ("systemd-analyze verify", "systemd-analyze security")
    if shutil.which("systemd-analyze") is None:
        return [Check(name, "skipped", "install systemd") for name in names]
    units = scratch / "units"
    units.mkdir()
    (plain,) = place.glob("*.service")
    installed = f"/opt/edgehone/{place.name}"
    # The program is looked for, so it must be where the unit says.
    (units / plain.name).write_text(plain.read_text("utf-8").replace(installed, str(place)), "utf-8")
    told = _run("systemd-analyze", "verify", "--man=no", str(units / plain.name))
    checks = [_judged(names[0], told.returncode == 0 and plain.name not in told.stderr, told.stderr)]
    limit = f"--threshold={int(_MOST_EXPOSURE * 10)}"
    told = _run("systemd-analyze", "security", "--offline=true", limit, "--no-pager", str(units / plain.name))
    return [*checks, _judged(names[1], told.returncode == 0, told.stdout or told.stderr)]


def _image(folder: Path) -> Check:
    if shutil.which("e2fsck") is None:
        return Check("e2fsck", "skipped", "apt install e2fsprogs")
    told = _run("e2fsck", "-fn", str(folder / firmware.FOLDER / "content" / "model.img"))
    return _judged("e2fsck", told.returncode == 0, told.stdout)


def _rauc(folder: Path, scratch: Path) -> Check:
    """Let rauc verify the signed bundle, or one of the same content that is signed with a key made for this check."""
    missing = [name for name in ("rauc", "openssl", "mksquashfs") if shutil.which(name) is None]
    if missing:
        return Check(
            "rauc info",
            "skipped",
            f"{', '.join(missing)} not installed: apt install rauc squashfs-tools openssl",
        )
    signed = list(folder.glob("*.raucb"))
    if signed:
        told = _run("rauc", "info", "--no-verify", str(signed[0]))
        return _judged("rauc info", told.returncode == 0, told.stderr)
    key, certificate = scratch / "key.pem", scratch / "cert.pem"
    made = _run(
        *(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ),
        *("-subj", "/CN=test", "-keyout", str(key), "-out", str(certificate)),
    )
    if made.returncode:
        return _judged("rauc info", False, made.stderr)
    content = folder / firmware.FOLDER / "content"
    try:
        firmware.bundle(content, scratch / "test.raucb", scratch, certificate, key)
    except SetupError as error:
        return Check("rauc info", "failed", error.message)
    told = _run("rauc", f"--keyring={certificate}", "info", str(scratch / "test.raucb"))
    return _judged("rauc info", told.returncode == 0, told.stderr)


def _judged(name: str, passed: bool, told: str) -> Check:
    lines = told.strip().splitlines()
    return Check(name, "passed") if passed else Check(name, "failed", lines[-1] if lines else "no message")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:  # a program that is not one
        return subprocess.CompletedProcess(command, 126, "", str(error))

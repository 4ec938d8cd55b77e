"""The image of a RAUC bundle: the runner and the model in an ext4 file system, the same bytes on every machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Final

from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError, SetupError
from edgehone.package.target import Request
from edgehone.package.targets.embedded.aligned import align, differences

FOLDER: Final = "rauc"
HERE = Path(__file__).parent
_BLOCK = 4096
_SIGNER: Final = "give a certificate and its private key, both PEM: --set rauc-cert=FILE --set rauc-key=FILE"
_SPACE: Final = uuid.UUID(
    "8a6b0a54-7a55-4c0e-9d0f-3f6f2f1c9b1e"
)  # of the identifiers of file systems made here


def build(request: Request, folder: Path, source: Path, values: Mapping[str, str]) -> None:
    """Write rauc/content (what `rauc bundle` packs) and rauc/system (what the device's root file system needs)."""
    content, system = folder / FOLDER / "content", folder / FOLDER / "system"
    tree = request.scratch / "image"
    for place in (content, system, tree):
        place.mkdir(parents=True)
    align(source / "model.gguf", tree / "model.gguf")
    if found := differences(source / "model.gguf", tree / "model.gguf"):
        raise SetupError(
            f"the aligned GGUF file differs from the bundle's in {', '.join(found[:3])}",
            hint="report it with the bundle's manifest.json",
        )
    for name in ("edgehone-runner", "LICENSE.llama.cpp"):
        shutil.copy2(source / name, tree / name)
    _image(tree, content / "model.img", request.time, values["version"])
    paths = {"place": f"/opt/edgehone/{values['name']}", "mount": _escaped(f"/opt/edgehone/{values['name']}")}
    shown = {**values, **paths}
    (content / "manifest.raucm").write_text(_filled("manifest.raucm", shown), "utf-8")
    _program(content / "hook.sh", _filled("hook.sh", shown))
    shown["unit_lines"] = f"RequiresMountsFor={paths['place']}\nOnFailure={values['unit']}-fallback.service\n"
    shown["service_lines"] = f"ExecStartPost=+/usr/lib/edgehone/{values['unit']}-confirm.sh\n"
    (system / f"{values['unit']}.service").write_text(_filled("edgehone.service", shown), "utf-8")
    (system / f"{paths['mount']}.mount").write_text(_filled("model.mount", shown), "utf-8")
    (system / f"{values['unit']}-fallback.service").write_text(_filled("fallback.service", shown), "utf-8")
    _program(system / f"{values['unit']}-fallback.sh", _filled("fallback.sh", shown))
    _program(system / f"{values['unit']}-confirm.sh", _filled("confirm.sh", shown))
    (system / "system.conf").write_text(_filled("system.conf", shown), "utf-8")


def sign(folder: Path, values: Mapping[str, str], request: Request) -> None:
    """Write NAME.raucb, signed with the certificate and key that the user gave."""
    bundle(
        folder / FOLDER / "content",
        folder / f"{values['name']}.raucb",
        request.scratch,
        Path(request.options["rauc-cert"]),
        Path(request.options["rauc-key"]),
    )


def bundle(content: Path, target: Path, scratch: Path, certificate: Path, key: Path) -> None:
    """Make a RAUC bundle. Raises InputError without the files, SetupError with rauc's message or without rauc."""
    if shutil.which("rauc") is None:
        raise SetupError(
            "rauc is not installed: it makes and signs the bundle", hint="apt install rauc squashfs-tools"
        )
    for option, path in (("rauc-cert", certificate), ("rauc-key", key)):
        if not path.is_file():
            raise InputError(
                f"the option {option}: {why_absent(path, f'there is no file {path}')}", hint=_SIGNER
            )
    # rauc writes digests into the manifest in its input.
    copy = scratch / "rauc-input"
    shutil.copytree(content, copy)
    words = ["rauc", f"--cert={certificate}", f"--key={key}", "bundle", str(copy), str(target)]
    _run(words, hint=f"{_SIGNER}; or free some space")
    shutil.rmtree(copy)


def _image(tree: Path, target: Path, time: int, version: str) -> None:
    """Make an ext4 file system whose every byte follows from its files, the time and the version."""
    names = sorted(one.name for one in tree.iterdir())
    for name in names:
        mode = 0o755 if name == "edgehone-runner" else 0o644
        (tree / name).chmod(mode)
        os.utime(tree / name, (time, time))
    os.utime(tree, (time, time))
    blocks = sum(-(-(tree / name).stat().st_size // _BLOCK) for name in names)
    identity = str(uuid.uuid5(_SPACE, version))
    environment = {**os.environ, "E2FSPROGS_FAKE_TIME": str(time), "TZ": "UTC", "LC_ALL": "C"}
    command = ["mke2fs", "-q", "-t", "ext4", "-b", str(_BLOCK), "-m", "0", "-N", "32", "-L", "edgehone-model"]
    # Read only: no journal. No checksums of metadata, since the times below are set afterwards.
    command += ["-O", "^has_journal,^metadata_csum,^resize_inode,^orphan_file", "-U", identity]
    command += ["-E", f"hash_seed={identity},lazy_itable_init=0,root_owner=0:0", "-d", str(tree), str(target)]
    _run([*command, str(blocks + blocks // 200 + 64)], environment)
    # mke2fs copies the owner and the time of change of each file from this machine.
    fields = [
        f"{field}time{extra} {value}"
        for field in "acm"
        for extra, value in (("", f"@{time}"), ("_extra", "0"))
    ]
    fields += ["uid 0", "gid 0", f"crtime @{time}", "crtime_extra 0"]
    settings = [
        f"set_inode_field {name} {field}"
        for name in ("/", *(f"/{each}" for each in names))
        for field in fields
    ]
    script = target.with_name("debugfs.txt")
    script.write_text("\n".join(settings) + "\n", "utf-8")
    _run(["debugfs", "-w", "-f", str(script), str(target)], environment)
    script.unlink()


def _run(
    command: Sequence[str], environment: Mapping[str, str] | None = None, hint: str | None = None
) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()
        raise SetupError(
            f"{command[0]} failed with code {done.returncode}: {told[-1] if told else 'no message'}",
            hint=hint or "free some space, or report it with the command: " + " ".join(command)[:300],
        )


def _filled(template: str, values: Mapping[str, str]) -> str:
    return Template((HERE / f"{template}.template").read_text("utf-8")).substitute(values)


def _program(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(0o755)


def _escaped(path: str) -> str:
    """Return the name of a mount's unit, as `systemd-escape --path` does."""
    parts = path.strip("/").encode()
    plain = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.")
    return "".join("-" if one == 0x2F else chr(one) if one in plain else f"\\x{one:02x}" for one in parts)

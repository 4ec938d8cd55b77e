"""What people read and build from: README.md, notes, and the files to build the image elsewhere."""

from __future__ import annotations

import json
import shlex
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

from edgehone.core.sizes import shown
from edgehone.package.target import Request
from edgehone.package.targets.container import debian, wheels
from edgehone.package.targets.container.base import COMPILE, Base, runs_here
from edgehone.package.targets.container.debian import USER
from edgehone.package.targets.container.image import Final, methods_command
from edgehone.package.targets.container.layout import Image
from edgehone.package.targets.container.program import HOME, site_packages

_HERE = Path(__file__).parent
_PROBE = [f"/{HOME}/bin/python", "-I", f"/{HOME}/start.py"]
# What the memory limit of the README allows besides the model: Python, the runtime, and a cache.
_BESIDES = 256 << 20


def readme(name: str, image: Image, cpu: Sequence[str], request: Request) -> str:
    """Return README.md."""
    manifest = request.bundle.manifest
    artifact = sum(one.stat().st_size for one in request.bundle.artifact.rglob("*") if one.is_file())
    if manifest.kind == "graph":
        asked = (
            f"curl http://127.0.0.1:8080/v2/models/{name}    # inputs and outputs; POST …/infer computes them"
        )
    else:
        body = json.dumps({"model": name, "prompt": "Once upon a time", "max_tokens": 40})
        asked = f"curl http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' -d '{body}'"
    signature = "the server serves only bundles that the key in the image has signed."
    if "key" not in request.options:
        signature = (
            "who signed the bundle is not checked, and the server says so. Mount the public key, and it serves only\n"
            "  what this key has signed: `--volume signing.pub:/etc/edgehone/key.pem:ro`."
        )
    return Template((_HERE / "README.txt").read_text("utf-8")).substitute(
        name=name,
        size=shown(sum(one["size"] for one in image.manifest["layers"])),
        digest=image.digest,
        arch=image.config["architecture"],
        memory=f"{-(-(_BESIDES + 2 * artifact) >> 20)}m",
        version=manifest.artifact_key,
        request=asked,
        user=USER,
        probe=" ".join([*_PROBE, "probe"]),
        cpu=", ".join(cpu),
        signature=signature,
    )


def notes(wanted: wheels.Wanted, program_unknown: bool, base: Base, image: Image) -> tuple[str, ...]:
    """Return what a user must know."""
    layers = image.manifest["layers"]
    found = [f"the base image: {base.said}", f"the layer of the bundle takes {shown(layers[-1]['size'])}"]
    if not runs_here(wanted.arch):
        found.append(f"the image was not started: this machine does not run {wanted.arch}")
    if program_unknown:
        found.append(
            "which instructions the given llama.cpp needs is not known: its library does not run here"
        )
    if wanted.device != "cpu":
        found.append(f"OpenVINO's plugin for the {wanted.device.upper()} was not tried on such a device")
    return tuple(found)


def build_files(
    folder: Path, base: Base, wanted: wheels.Wanted, final: Final, program: Path, name: str
) -> None:
    """Write the Containerfile and what it copies. A base that the user named takes the place of Debian's packages."""
    folder.mkdir()
    _pack(program, folder / "program.tar")
    shutil.copytree(final.tree / HOME, folder / "files")
    packages = wheels.requirements(wanted)
    (folder / "requirements.txt").write_text(packages, "utf-8")
    names = ["*", *(line.partition("==")[0] for line in packages.splitlines())]
    left_out = [*(one for name in names for one in wheels.patterns(name, wanted)), *wheels.NOTES]
    settings = [f"ENV {key}={shlex.quote(value)}" for key, value in sorted(final.environment.items())]
    settings += [f"LABEL {key}={json.dumps(value)}" for key, value in sorted(final.labels.items())]
    text = Template((_HERE / "Containerfile.txt").read_text("utf-8")).substitute(
        _base_stage(folder, base),
        name=name,
        user=USER,
        packages_left_out=_quoted(left_out),
        site_packages=site_packages(base),
        compile=_compile(base, f"/{site_packages(base)}"),
        methods=json.dumps(methods_command(wanted.backend)),
        home=HOME,
        settings="\n".join(settings),
        probe=json.dumps([*_PROBE, "probe"]),
        entrypoint=json.dumps(_PROBE),
    )
    (folder / "Containerfile").write_text(text, "utf-8")


def _base_stage(folder: Path, base: Base) -> dict[str, str]:
    """Return the parts of the Containerfile that make the base; they need debian.txt, the packages by version."""
    if "@" in base.said:
        return {
            "builder": f"python:{base.version}-slim",
            "builder_has": f"pip and Python {base.version}",
            "argument": f"# The base image: {base.said}\nARG BASE\n",
            "system": "",
            "base": "FROM ${BASE}",
        }
    suite, table = debian.suite()
    debs = sorted(f"{name}={number}" for name, number, _ in base.packages)
    (folder / "debian.txt").write_text("".join(f"{one}\n" for one in debs), "utf-8")
    lines = {name: text.replace("\n", "\\n") for name, text in debian.ACCOUNTS.items()}
    system = Template((_HERE / "Containerfile-system.txt").read_text("utf-8")).substitute(
        left_out=_quoted(table["files"]), passwd=lines["etc/passwd"], group=lines["etc/group"]
    )
    library = f"/usr/lib/python{base.version}"
    return {
        "builder": f"python:{base.version}-slim-{suite}",
        "builder_has": f"pip, Python {base.version} and Debian {suite}, whose apt has the packages of debian.txt",
        "argument": "",
        "system": system,
        "base": f"FROM scratch\nCOPY --from=system /system/ /\nRUN {_compile(base, library)}",
    }


def _pack(tree: Path, path: Path) -> None:
    """Write a tree as an archive, with fixed owners and times."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for one in sorted(tree.rglob("*")):
            entry = archive.gettarinfo(str(one), one.relative_to(tree).as_posix())
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            if entry.isfile():
                with one.open("rb") as file:
                    archive.addfile(entry, file)
            else:
                archive.addfile(entry)


def _compile(base: Base, folder: str) -> str:
    """Return the command that compiles Python's modules of a folder."""
    return json.dumps([base.python, *COMPILE, folder])


def _quoted(patterns: Sequence[str]) -> str:
    """Return words for a loop of the shell, each once."""
    return " \\\n      ".join(f"'{one}'" for one in dict.fromkeys(patterns))

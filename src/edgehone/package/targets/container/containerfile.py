"""The Containerfile of a package, and what it copies, for people who build the image elsewhere."""

from __future__ import annotations

import json
import shlex
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from edgehone.package.targets.container import debian
from edgehone.package.targets.container.base import COMPILE, Base
from edgehone.package.targets.container.debian import USER
from edgehone.package.targets.container.image import Final
from edgehone.package.targets.container.program import HOME
from edgehone.package.targets.container.server import Steps

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class _Below:
    """How a base is made: an argument, a stage and commands, and what the stage's builder must have."""

    argument: str
    builder_has: tuple[str, ...]
    stage: str
    commands: str


def build_files(
    folder: Path, base: Base, steps: Steps, final: Final, program: Path, name: str, probe: Sequence[str]
) -> None:
    """Write the Containerfile and what it copies. A base that the user named takes the place of Debian's packages.

    `program` is the folder with the files of the layer below the bundle.
    """
    folder.mkdir()
    _pack(program, folder / "program.tar")
    shutil.copytree(final.tree / HOME, folder / "files")
    for file, text in steps.files.items():
        (folder / file).write_text(text, "utf-8")
    below = _below(folder, base)
    settings = [f"ENV {key}={shlex.quote(value)}" for key, value in sorted(final.environment.items())]
    settings += [f"LABEL {key}={json.dumps(value)}" for key, value in sorted(final.labels.items())]
    text = Template((_HERE / "Containerfile.txt").read_text("utf-8")).substitute(
        arguments=_arguments(steps, below),
        stages=below.stage + steps.stages,
        base=below.commands,
        layers=steps.layers,
        name=name,
        user=USER,
        home=HOME,
        settings="\n".join(settings),
        probe=json.dumps(list(probe)),
        entrypoint=json.dumps(list(final.command)),
    )
    (folder / "Containerfile").write_text(text, "utf-8")


def _arguments(steps: Steps, below: _Below) -> str:
    """Return the lines before the stages: the image that they are built in, and the base that the user named."""
    lines = [below.argument] if below.argument else []
    if steps.builder:
        *most, last = (*steps.builder_has, *below.builder_has)
        has = f"{', '.join(most)} and {last}" if most else last
        lines = [f"# BUILDER is an image with {has}.", f"ARG BUILDER={steps.builder}", *lines]
    return "".join(f"{line}\n" for line in lines)


def _below(folder: Path, base: Base) -> _Below:
    """Return how the base is made; of Debian's packages it needs debian.txt, which names them by version."""
    if base.is_named:
        return _Below(f"# The base image: {base.said}\nARG BASE", (), "", "FROM ${BASE}")
    suite, table = debian.suite()
    debs = sorted(f"{name}={number}" for name, number, _ in base.packages)
    (folder / "debian.txt").write_text("".join(f"{one}\n" for one in debs), "utf-8")
    lines = {name: text.replace("\n", "\\n") for name, text in debian.ACCOUNTS.items()}
    stage = Template((_HERE / "Containerfile-system.txt").read_text("utf-8")).substitute(
        left_out=_quoted(table["files"]), passwd=lines["etc/passwd"], group=lines["etc/group"]
    )
    commands = "FROM scratch\nCOPY --from=system /system/ /"
    if base.python:
        commands += f"\nRUN {json.dumps([base.python, *COMPILE, f'/usr/lib/python{base.version}'])}"
    return _Below("", (f"Debian {suite}, whose apt has the packages of debian.txt",), stage, commands)


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


def _quoted(patterns: Sequence[str]) -> str:
    """Return words for a loop of the shell, each once."""
    return " \\\n      ".join(f"'{one}'" for one in dict.fromkeys(patterns))

"""The challenger as a folder on this machine: a bundle that is named, or a version of a registry, which is pulled.

A server goes on serving from that folder, so the rollout needs the registry at its beginning only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgehone.core.errors import InputError
from edgehone.execution.home import home

if TYPE_CHECKING:
    from edgehone.registry.session import Registry, Version

_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Challenger:
    """What is to be served: its folder, what it is called, and its version in the registry (None: it has none)."""

    path: Path
    label: str
    version: Version | None = None


def split_name(text: str) -> tuple[str, str | None]:
    """Return the name and the version of NAME[@VERSION]; NAME:VERSION is the same. Raises InputError."""
    name, at, version = text.partition("@")
    if not at:
        name, at, version = text.partition(":")
    if not name or (at and not version):
        raise InputError(f"{text!r} is no NAME[@VERSION]", hint="edgehone rollout start NAME@3 --to URL")
    return name, version or None


def of_folder(path: Path) -> Challenger:
    """Return a bundle on this machine. Raises InputError if there is none."""
    if not (path / "manifest.json").is_file():
        raise InputError(f"{path} is no bundle: it has no manifest.json", hint="--bundle FOLDER")
    return Challenger(path.absolute(), str(path))


def of_registry(registry: Registry, name: str, version: str | None, *, key: Path | None) -> Challenger:
    """Pull a version into EDGEHONE_HOME, unless it is there.

    Raises InputError if it is unknown, damaged or not approved.
    """
    from edgehone.registry.names import parse
    from edgehone.registry.pull import check_bundle, pull
    from edgehone.registry.session import find

    mark = "@" if version and version.startswith("sha256:") else ":"
    with registry.database.reading() as connection:
        found = find(connection, parse(f"{name}{mark}{version}" if version else name))
    if found.approval != "yes":
        state = "approved on conditions only" if found.approval == "conditional" else "not approved"
        raise InputError(
            f"{found.reference} is {state}",
            hint=f"edgehone registry show {found.reference}",
        )
    folder = home() / "rollouts" / f"{name.replace('/', '_')}-{found.number}-{found.digest[7:19]}"
    if folder.exists():
        check_bundle(folder, found.reference, key)
    else:
        pull(registry, parse(found.reference), folder, key=key)
    return Challenger(folder, found.reference, found)

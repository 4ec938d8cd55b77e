"""The contract of a target: a module that turns a bundle into the form that a kind of device or platform takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from edgehone.bundle.read import Bundle
from edgehone.core.typed_json import OPTIONAL


@dataclass(frozen=True)
class Tool:
    """A program that a target needs. `package` is the Debian package or the command that installs it."""

    program: str
    package: str


@dataclass(frozen=True)
class Option:
    """An option of a target, given as `--set NAME=VALUE`. `default` None: the target decides.

    `file` says that the value is a path on this machine, such as that of a key; package.json does not repeat it.
    """

    name: str
    help: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    file: bool = False


@dataclass(frozen=True)
class Request:
    """What is to be packaged.

    `time` is the only time that may be written into a package: that of the bundle, in seconds since 1970 UTC.
    `scratch` is an empty folder for intermediate files. `tell` reports progress on long work.
    """

    bundle: Bundle
    options: Mapping[str, str]
    time: int
    scratch: Path
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Deliverable:
    """A file or folder of a package that goes to the device as a whole; the size budget holds for each.

    `limit` in bytes takes the place of the target's `BUDGET`; `otherwise` says how to deliver what is larger.
    """

    path: str
    what: str
    limit: int | None = field(default=None, metadata=OPTIONAL)
    otherwise: str = field(default="", metadata=OPTIONAL)


@dataclass(frozen=True)
class Carried:
    """A file of the bundle that is in the package, byte for byte.

    `at` is where: a path in the package, or a path of an archive, "!", and the name of a member (`app.apk!assets/m`).
    """

    bundle: str
    at: str


@dataclass(frozen=True)
class Proof:
    """Where the quality figures of a package hold: the instruction set that the proof was made on."""

    architecture: str  # as `platform.machine()` tells it: x86_64, aarch64
    features: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Built:
    """What a target wrote into the package's folder. `readme` is the text of README.md, in Markdown.

    `parts` says what fills a deliverable, in bytes by name, where the names of its files do not.
    `runs_on` is the instruction set of the programs among the deliverables, None if there are none.
    `left_out` are files of the artifact, below the bundle, that only edgehone reads: all others are carried, or none.
    """

    deliverables: tuple[Deliverable, ...]
    carried: tuple[Carried, ...]
    readme: str
    notes: tuple[str, ...] = ()
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    runs_on: Proof | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """The outcome of a check of a package by a program that does not belong to edgehone."""

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    reason: str = ""


class Target(Protocol):
    """What a target's module defines.

    `BUDGET` is the limit of each deliverable in bytes where the platform has one, None where it has none. `TOOLS` are
    the programs without which nothing is built.
    """

    NAME: str
    SUMMARY: str
    TOOLS: Sequence[Tool]
    OPTIONS: Sequence[Option]
    BUDGET: int | None

    def refuses(self, bundle: Bundle) -> str | None:
        """Return why the target cannot run this bundle's artifact, None if it can."""
        ...

    def build(self, request: Request, folder: Path) -> Built:
        """Write the package's own files into `folder`. The same request gives the same bytes on every machine."""
        ...

    def check(self, folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
        """Check what was built with independent tools; those that are not installed are skipped by name."""
        ...

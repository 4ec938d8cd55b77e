"""What an image serves by: a module with the names of `Server`, chosen by the option `server`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgehone.package.target import Request
from edgehone.package.targets.container.base import Base, Needs
from edgehone.package.targets.container.buildah import Store
from edgehone.package.targets.container.llama import Llama
from edgehone.package.targets.container.wheels import Installed

# The label that names the server, by which `checks` finds its module again.
LABEL = "io.edgehone.server"


@dataclass(frozen=True)
class Layers:
    """The layers between the base and the bundle: the image with them, what each contains, and what is in them."""

    image: str
    contents: tuple[str, ...]
    llama: Llama
    packages: tuple[Installed, ...] = ()


@dataclass(frozen=True)
class Steps:
    """What a Containerfile does besides the base: `stages` before it, and `layers` above it, each a text of lines.

    `builder` is the image that the stages are built in, with `builder_has`; "" if there are none. `files` are written
    beside the Containerfile, by name.
    """

    builder: str
    builder_has: tuple[str, ...]
    stages: str
    layers: str
    files: Mapping[str, str] = field(default_factory=dict)


class Server(Protocol):
    """What a server's module defines.

    `README` is the template of README.md. `PROBE` and `READY` are commands in a container, with exit code 0 if the
    server lives, and if it answers requests; `ALONE` is one that only shows that a container can be started. `OWN` is
    what edgehone has in the image, for the bill of materials. Unless the server `PROVES_ITSELF` at each start, its
    answers are compared when the package is made, which then fails where no container can be started.
    """

    NAME: str
    README: str
    PROBE: Sequence[str]
    READY: Sequence[str]
    ALONE: Sequence[str]
    OWN: str
    PROVES_ITSELF: bool

    def check_request(self, request: Request) -> None:
        """Raise InputError for a bundle or options that this server cannot have, SetupError for a missing program."""
        ...

    def needs(self, options: Mapping[str, str]) -> Needs:
        """Return what the base must have."""
        ...

    def layers(self, store: Store, base: Base, request: Request) -> Layers:
        """Make the layers between base and bundle. The files of the last one are in `scratch/program`."""
        ...

    def command(self, request: Request, place: str, name: str) -> list[str]:
        """Return the first process with its options. `place` is the folder of the bundle in the image."""
        ...

    def environment(self, backend: str) -> dict[str, str]:
        """Return the variables of the image."""
        ...

    def steps(self, base: Base, request: Request) -> Steps:
        """Return what a Containerfile does to make the same layers."""
        ...

    def cache_bytes(self, request: Request) -> int:
        """Return the bytes of caches that the server allots when it starts, besides what fits into any limit."""
        ...

    def readme_values(self, request: Request, name: str) -> dict[str, str]:
        """Return values of the template of README.md that other servers do not have."""
        ...

    def notes(self, request: Request) -> list[str]:
        """Return what a user must know of the server."""
        ...

"""Python packages of an image: the backend's runtime and what `edgehone serve` needs, without unneeded files."""

from __future__ import annotations

import fnmatch
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from edgehone.backends import registry
from edgehone.bundle.schema import Manifest
from edgehone.core.errors import SetupError
from edgehone.execution.environments.installer import Machine, install_for, normalized

_HERE = Path(__file__).parent
# Machines as uv names them: those with the glibc of Debian 12 or an older one.
_PLATFORMS: Final[Mapping[str, str]] = {
    "amd64": "x86_64-manylinux_2_36",
    "arm64": "aarch64-manylinux_2_36",
}
# What an installer notes about its work, and what holds for the folder before files were left out.
NOTES: Final = tuple(
    f"*.dist-info/{name}"
    for name in ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_build.json", "uv_cache.json")
)
_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*==")


@dataclass(frozen=True)
class Installed:
    """A Python package: its name, version and licence ("" if it states none)."""

    name: str
    version: str
    licence: str


@dataclass(frozen=True)
class Wanted:
    """What the packages are for: a backend, a kind of model, a device, an architecture, a version of Python."""

    backend: str
    kind: str
    device: str
    arch: str
    python: str


def kind_of(manifest: Manifest) -> str:
    """Return the kind of a bundle's model by what running it needs: "pictures" for a vision-language model."""
    return "pictures" if manifest.pictures is not None else manifest.kind


def check_backend(backend: str, kind: str) -> str | None:
    """Return why a backend cannot be in an image; None if it says which packages it runs with."""
    needs = registry.load(backend).NEEDS
    if needs.lock is None or kind not in needs.runtime:
        return f"the backend {backend} does not say which packages it needs to run a model of kind {kind}"
    return None


def requirements(wanted: Wanted) -> str:
    """Return the pinned packages of an image, a line each, sorted."""
    needs = registry.load(wanted.backend).NEEDS
    assert needs.lock is not None  # `check_backend`
    runtime = needs.runtime[wanted.kind]
    locked = list(_pins(needs.lock.read_text("utf-8")))
    if missing := set(runtime) - {name for name, _ in locked}:
        raise SetupError(f"the lock of {wanted.backend} lacks {', '.join(sorted(missing))}")
    lines = [*_pins((_HERE / "serve.txt").read_text("utf-8")), *(one for one in locked if one[0] in runtime)]
    return "".join(f"{line}\n" for _, line in sorted(set(lines)))


def install(
    wanted: Wanted, folder: Path, scratch: Path, tell: Callable[[str], None]
) -> tuple[Installed, ...]:
    """Install the packages into the empty `folder`. Raises SetupError if the package index does not have them."""
    lock = scratch / "requirements.txt"
    lock.write_text(requirements(wanted), "utf-8")
    machine = Machine(wanted.python, _PLATFORMS[wanted.arch])
    install_for(f"container-{wanted.backend}", lock, folder, machine, tell)
    for one in distributions(path=[str(folder)]):
        _leave_out(folder, patterns(normalized(one.metadata["Name"]), wanted))
    _leave_out(folder, [*patterns("*", wanted), *NOTES, ".lock"])
    found = distributions(path=[str(folder)])
    return tuple(sorted((_installed(one) for one in found), key=lambda one: one.name))


def patterns(name: str, wanted: Wanted) -> list[str]:
    """Return the patterns of files that are left out of a package; "*" stands for every package."""
    table = tomllib.loads((_HERE / "left_out.toml").read_text("utf-8")).get(name, {})
    others = [key for key in table if key in ("gpu", "npu") and key != wanted.device]
    keys = [key for key in table if key in ("files", wanted.kind)]
    return [pattern for key in (*keys, *others) for pattern in table[key]]


def _pins(lock: str) -> Iterator[tuple[str, str]]:
    """Yield the normalized name and the line of each package of a lock."""
    for line in lock.splitlines():
        if match := _NAME.match(line):
            yield normalized(match[1]), line.strip()


def _leave_out(folder: Path, left_out: list[str]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in left_out):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _installed(one: Distribution) -> Installed:
    metadata = one.metadata
    licence = next((metadata[key] for key in ("License-Expression", "License") if key in metadata), "")
    return Installed(
        normalized(metadata["Name"]), metadata["Version"], licence.partition("\n")[0].strip()[:100]
    )

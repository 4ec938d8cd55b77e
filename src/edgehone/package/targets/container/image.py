"""Build an image layer by layer, over a base.

The layers below the bundle hold nothing of it. They are kept in the storage for the next package, and in a registry the
images of all bundles share them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgehone.core.errors import InputError
from edgehone.package.targets.container.base import COMPILE, Base, Compiler, compile_python
from edgehone.package.targets.container.buildah import Store
from edgehone.package.targets.container.debian import USER
from edgehone.package.write import settle_modes

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Compiled:
    """The folders of a layer whose Python modules get bytecode, by what, and a command that compiles further."""

    folders: Sequence[str]
    compiler: Compiler | None
    command: Sequence[str] = ()


@dataclass(frozen=True)
class Final:
    """The last layer: files, settings of the image, and the time of the bundle in seconds since 1970 UTC.

    `command` is the first process with its options.
    """

    tree: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    time: int


def layer(store: Store, parent: str, tree: Path, arch: str, compiled: Compiled) -> str:
    """Return an image with the files of a tree over a parent, and what is compiled of them.

    It is made unless the same is in the storage.
    """
    settle_modes(tree)
    made_of = [parent, _tree_digest(tree), arch, *COMPILE, str(compiled), store.version]
    image = f"localhost/edgehone-layer:{digest_of(made_of)}"
    if store.has(image):
        return image
    with store.container(parent, arch) as container:
        store.run("copy", "-q", "--chown", "0:0", container, tree, "/")
        compile_python(store, container, compiled.compiler, [f"/{one}" for one in compiled.folders])
        if compiled.command:
            store.run("run", "--network", "none", container, "--", *compiled.command)
        store.commit(container, image)
    return image


def final_image(store: Store, parent: str, arch: str, final: Final, image: str) -> None:
    """Store the whole image, with its settings."""
    settle_modes(final.tree)
    words = [
        "--entrypoint",
        json.dumps(final.command),
        "--cmd",
        "",
        "--user",
        f"{USER}:{USER}",
        "--port",
        "8080/tcp",
    ]
    words += ["--workingdir", "/", "--stop-signal", "SIGTERM", "--arch", arch]
    for name, value in sorted(final.environment.items()):
        words += ["--env", f"{name}={value}"]
    for name, value in sorted(final.labels.items()):
        words += ["--label", f"{name}={value}"]
        if name.startswith("org.opencontainers."):
            words += ["--annotation", f"{name}={value}"]
    with store.container(parent, arch) as container:
        store.run("copy", "-q", "--chown", "0:0", container, final.tree, "/")
        store.run("config", *words, container)
        store.commit(container, image, final.time)


def check_glibc(base: Base, needed: tuple[int, int], what: str) -> None:
    """Raise InputError if the base has an older glibc than `what` needs."""
    if needed > base.glibc:
        have, need = (".".join(map(str, one)) for one in (base.glibc, needed))
        raise InputError(
            f"the base {base.said} has glibc {have}; {what} needs {need}",
            hint="name a base image with a newer glibc, or leave out --set base",
        )


def digest_of(parts: Sequence[str]) -> str:
    """Return a short digest of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _tree_digest(tree: Path) -> str:
    """Return a digest of the names, modes and contents of all files of a tree."""
    hashed = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        hashed.update(f"\0{path.relative_to(tree)}\0{path.lstat().st_mode}\0".encode())
        if path.is_symlink():
            hashed.update(str(path.readlink()).encode())
        elif path.is_file():
            with path.open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()

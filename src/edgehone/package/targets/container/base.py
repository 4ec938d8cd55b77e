"""The base image: made from Debian packages, or named by the user with its digest. It must have glibc."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgehone.core.errors import InputError, SetupError
from edgehone.execution.home import file_lock
from edgehone.model.digest import digest_file
from edgehone.package.targets.container import debian, glibc
from edgehone.package.targets.container.buildah import Store, failure
from edgehone.package.targets.container.layout import Files, Image, read_image, write_index

OLDEST_PYTHON: Final = 11  # of Python 3
_PINNED = re.compile(r"(?P<place>.+)@(?P<digest>sha256:[0-9a-f]{64})")
_PYTHON = re.compile(r"(?:usr/local/bin|usr/bin)/python3\.(\d+)")
COMPILE: Final = ("-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
MACHINES: Final[Mapping[str, str]] = {"amd64": "x86_64", "arm64": "aarch64"}
# The architecture of this machine, and where modules of another one's image are compiled.
_OWN: Final = next((arch for arch, name in MACHINES.items() if name == platform.machine()), "")
_ASIDE: Final = "/compiled"


@dataclass(frozen=True)
class Needs:
    """What a server needs of its base: the names of lists of packages in debian.toml, and what a base of the user has.

    `libraries` are files, and `python` says whether it needs Python.
    """

    packages: tuple[str, ...]
    libraries: tuple[str, ...]
    python: bool

    @property
    def hint(self) -> str:
        """What to do about a base that lacks something."""
        python = "Python 3.11 or newer, " if self.python else ""
        return f"name a base image with {python}glibc, {', '.join(self.libraries)}, or leave out --set base"


PYTHON: Final = Needs(("edgehone",), ("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"), python=True)


@dataclass(frozen=True)
class Compiler:
    """The Python that compiles modules: that of the container itself, or that of another `image`."""

    python: str
    image: str | None = None


@dataclass(frozen=True)
class Base:
    """A base image in the storage.

    `python` is the path of its interpreter, `version` such as "3.11" (both are "" where none is needed), `glibc` such
    as (2, 36). `packages` are Debian's: name, version, architecture. `said` says what it is.
    """

    image: str
    python: str
    version: str
    glibc: tuple[int, int]
    packages: tuple[tuple[str, str, str], ...]
    said: str

    @property
    def key(self) -> str:
        """What the base is made of, as a short digest."""
        return self.image.rpartition(":")[2]

    @property
    def is_named(self) -> bool:
        """Whether the user named it by its digest."""
        return "@" in self.said


def runs_here(arch: str) -> bool:
    """Return whether this machine runs programs of an architecture."""
    return MACHINES[arch] == platform.machine()


def base_of(store: Store, named: str | None, arch: str, needs: Needs, tell: Callable[[str], None]) -> Base:
    """Return the base image; it is made, or copied into the storage, unless it is there already.

    Raises InputError for a base without what is needed, SetupError if a program or the network fails.
    """
    if named is None:
        store.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(store.folder / f"apt-{arch}.lock"):
            recipe = debian.recipe(arch, needs.packages, needs.python, store.folder / "apt", tell)
            return _kept(
                store, debian.key(recipe), lambda scratch: _from_debian(store, recipe, scratch, tell)
            )
    pinned = _PINNED.fullmatch(named)
    if pinned is None:
        raise InputError(
            f"the base {named} is not named by its digest",
            hint="give oci:FOLDER@sha256:… or REGISTRY/IMAGE@sha256:… (skopeo inspect prints the digest)",
        )
    said = _said(pinned["place"], pinned["digest"])
    key = hashlib.sha256(f"{said} {arch} {needs}".encode()).hexdigest()[:16]
    named_by = (pinned["place"], pinned["digest"], arch)
    return _kept(store, key, lambda scratch: _named(store, key, named_by, needs, scratch))


def _kept(store: Store, key: str, make: Callable[[Path], Base]) -> Base:
    """Return a base from its note in the storage, or make it. Two processes make it once."""
    note = store.folder / "bases" / f"{key}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(note.with_suffix(".lock")):
        if note.is_file():
            data: dict[str, Any] = json.loads(note.read_text("utf-8"))
            packages = tuple((one[0], one[1], one[2]) for one in data.pop("packages"))
            found = Base(**{**data, "glibc": tuple(data["glibc"]), "packages": packages})
            if store.has(found.image):
                return found
        with store.scratch() as scratch:
            made = make(Path(scratch))
        partial = note.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(made), indent=1), "utf-8")
        partial.rename(note)
        return made


def _from_debian(store: Store, recipe: debian.Recipe, scratch: Path, tell: Callable[[str], None]) -> Base:
    """Return a base that is named by its content."""
    tell(f"making a base image from packages of Debian {recipe.suite}")
    root = debian.make_root(recipe, scratch)
    python, library, compiler = "", "", None
    if recipe.python:
        python, library = f"/usr/bin/python{recipe.python}", f"/usr/lib/python{recipe.python}"
        compiler = Compiler(python) if runs_here(recipe.arch) else _compiler(store, recipe.python, tell)
    parts = [digest_file(root.tar), recipe.arch, library, *COMPILE, str(compiler), store.version]
    image = f"localhost/edgehone-base:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"
    if not store.has(image):
        with store.container("scratch", recipe.arch) as container:
            store.run("add", "-q", container, root.tar, "/")
            compile_python(store, container, compiler, [library])
            store.run("config", "--arch", recipe.arch, container)
            store.commit(container, image)
    said = f"packages of Debian {recipe.suite}"
    return Base(image, python, recipe.python, root.glibc, root.packages, said)


def compile_python(store: Store, container: str, compiler: Compiler | None, folders: Sequence[str]) -> None:
    """Compile Python's modules in a container. The bytecode holds no times, and is not compared with its source.

    It is the same on every processor: where this machine does not run the container's programs, another image's Python
    of the same version compiles. Without a compiler nothing is done.
    """
    if compiler is None:
        return
    if compiler.image is None:
        store.run("run", "--network", "none", container, "--", compiler.python, *COMPILE, *folders)
        return
    with store.container(compiler.image, _OWN) as helper:
        for one in folders:
            store.run("copy", "-q", "--from", container, helper, one, f"{_ASIDE}{one}")
        aside = [f"{_ASIDE}{one}" for one in folders]
        words = [compiler.python, *COMPILE, "-s", _ASIDE, *aside]
        store.run("run", "--network", "none", helper, "--", *words)
        for one in folders:
            store.run("copy", "-q", "--chown", "0:0", "--from", helper, container, f"{_ASIDE}{one}", one)


def compiler_for(store: Store, base: Base, arch: str, tell: Callable[[str], None]) -> Compiler | None:
    """Return what compiles the modules for a base; None if it has another version of Python than Debian's here."""
    return Compiler(base.python) if runs_here(arch) else _compiler(store, base.version, tell)


def _compiler(store: Store, version: str, tell: Callable[[str], None]) -> Compiler | None:
    try:
        if debian.suite()[1]["python"] != version:
            return None
    except SetupError:  # this machine is none with Debian's packages
        return None
    found = base_of(store, None, _OWN, PYTHON, tell)
    return Compiler(found.python, found.image)


def _named(store: Store, key: str, named: tuple[str, str, str], needs: Needs, scratch: Path) -> Base:
    place, digest, arch = named
    image = _fetched(place, digest, scratch / "fetched")
    if (found := image.config.get("architecture")) != arch:
        raise InputError(f"the base {place} is for {found}, not {arch}", hint=f"give --set arch={found}")
    files = Files(image)
    python = _python(files, place, needs.hint) if needs.python else ""
    libc = _glibc(files, place, needs.hint)
    have = {name.rpartition("/")[2] for name in files}
    if missing := [name for name in needs.libraries if name not in have]:
        raise InputError(f"the base {place} lacks {', '.join(missing)}", hint=needs.hint)
    layout = scratch / "layout"
    layout.mkdir()
    write_index(layout, image, "base")
    name = f"localhost/edgehone-base:{key}"
    store.pull(layout, "base", name)
    version = python.rpartition("python")[2]
    return Base(name, python, version, libc, _packages(files), _said(place, digest))


def _said(place: str, digest: str) -> str:
    """Return the name of a base in the package. A folder of this machine means nothing elsewhere."""
    return f"OCI layout@{digest}" if place.startswith("oci:") else f"{place}@{digest}"


def _fetched(place: str, digest: str, folder: Path) -> Image:
    """Return the image at a place, from its layout, or from a registry by skopeo."""
    if place.startswith("oci:"):
        return read_image(Path(place.removeprefix("oci:")), digest)
    if shutil.which("skopeo") is None:
        raise SetupError(f"skopeo, which copies {place}, is not installed", hint="apt install skopeo")
    words = ["skopeo", "copy", "-q", f"docker://{place}@{digest}", f"oci:{folder}:base"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise failure(f"skopeo copy {place}@{digest}", done.stderr)
    return read_image(folder)


def _python(files: Files, place: str, hint: str) -> str:
    found = {int(match[1]): name for name in files if (match := _PYTHON.fullmatch(name))}
    usable = [minor for minor in found if minor >= OLDEST_PYTHON and files.resolve(found[minor])]
    if not usable:
        others = f"; it has Python 3.{max(found)}" if found else ""
        raise InputError(f"the base {place} has no Python 3.{OLDEST_PYTHON} or newer{others}", hint=hint)
    return f"/{found[max(usable)]}"


def _glibc(files: Files, place: str, hint: str) -> tuple[int, int]:
    library = next((name for name in files if name.endswith("/libc.so.6")), None)
    if library is None:
        musl = next((name for name in files if "/ld-musl-" in f"/{name}"), None)
        other = f"; it has musl ({musl}), which the runtimes are not built for" if musl else ""
        raise InputError(f"the base {place} has no glibc (libc.so.6){other}", hint=hint)
    version = glibc.version_of(files.read(library))
    if version is None:
        raise InputError(f"the libc.so.6 of the base {place} does not state its version", hint=hint)
    return version


def _packages(files: Files) -> tuple[tuple[str, str, str], ...]:
    """Return Debian's packages of an image: a distroless one has a folder of descriptions, another one a file."""
    texts = [
        files.read(name)
        for name in files
        if name.startswith("var/lib/dpkg/status.d/") and "." not in name[22:]
    ]
    if not texts and files.resolve("var/lib/dpkg/status"):
        texts = files.read("var/lib/dpkg/status").split(b"\n\n")
    return tuple(sorted(filter(None, (debian.package_of(text.decode("utf-8", "replace")) for text in texts))))

"""Build the image layer by layer: base, Python packages, edgehone and programs, bundle.

The lower layers hold nothing of the bundle. They are kept in the storage for the next package, and in a registry the
images of all bundles share them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgehone.backends import registry
from edgehone.core.errors import InputError, SetupError
from edgehone.execution.environments.installer import normalized
from edgehone.execution.home import file_lock
from edgehone.package.targets.container import glibc, methods, wheels
from edgehone.package.targets.container.base import (
    COMPILE,
    Base,
    Compiler,
    compile_python,
    compiler_for,
    runs_here,
)
from edgehone.package.targets.container.buildah import Store
from edgehone.package.targets.container.debian import USER
from edgehone.package.targets.container.program import (
    HOME,
    LLAMA,
    STORED,
    Program,
    site_packages,
    write_edgehone,
    write_environment,
    write_program,
)
from edgehone.package.write import settle_modes

Tell = Callable[[str], None]
# The modules with libraries of the system behind them.
_IMPORTED = (
    "cryptography",
    "httptools",
    "numpy",
    "onnxruntime",
    "onnxruntime_genai",
    "openvino",
    "tokenizers",
    "uvloop",
)


@dataclass(frozen=True)
class Packages:
    """The layer of Python packages: its image, what is in it, and the version of glibc that it needs."""

    image: str
    installed: tuple[wheels.Installed, ...]
    glibc: tuple[int, int]


@dataclass(frozen=True)
class Compiled:
    """The folders of a layer whose Python modules get bytecode, by what, and a command that compiles further."""

    folders: Sequence[str]
    compiler: Compiler | None
    command: Sequence[str] = ()


@dataclass(frozen=True)
class Final:
    """The last layer: files, settings of the image, and the time of the bundle in seconds since 1970 UTC."""

    tree: Path
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    time: int


def packages_layer(store: Store, base: Base, wanted: wheels.Wanted, tell: Tell) -> Packages:
    """Return the layer of Python packages; it is made unless it is in the storage.

    Raises InputError if the base has an older glibc than the packages need.
    """
    parts = [base.key, json.dumps(asdict(wanted)), wheels.requirements(wanted)]
    parts += ["\n".join(wheels.patterns(name, wanted)) for name in ("*", wanted.backend)]
    parts += [
        Path(wheels.__file__).with_name(one).read_text("utf-8") for one in ("left_out.toml", "wheels.py")
    ]
    parts += [*COMPILE, store.version]
    note = store.folder / "packages" / f"{_digest(parts)}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(note.with_suffix(".lock")):
        if note.is_file() and store.has((found := _read(note)).image):
            return found
        tell(f"installing the Python packages of {wanted.backend} for the image")
        with store.scratch() as scratch:
            tree, place = Path(scratch) / "tree", Path(scratch) / "tree" / site_packages(base)
            place.mkdir(parents=True)
            installed = wheels.install(wanted, place, Path(scratch), tell)
            needed = glibc.needed_by(tree)
            _check_glibc(base, needed, "the packages of Python")
            compiled = Compiled([site_packages(base)], compiler_for(store, base, wanted.arch, tell))
            made = Packages(layer(store, base.image, tree, wanted.arch, compiled), installed, needed)
        partial = note.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(made), indent=1), "utf-8")
        partial.rename(note)
        return made


def program_layer(
    store: Store,
    base: Base,
    parent: str,
    wanted: wheels.Wanted,
    options: Mapping[str, str],
    scratch: Path,
    tell: Tell,
) -> tuple[str, Program]:
    """Return the image with edgehone and the backend's programs, and what they need."""
    tree = scratch / "program"
    write_environment(tree, base)
    write_edgehone(tree, base)
    program = write_program(tree, wanted.backend, wanted.arch, options, tell)
    _check_glibc(base, glibc.needed_by(tree), "llama.cpp")
    compiled = Compiled(
        [f"{site_packages(base)}/{one}" for one in ("edgehone", STORED)],
        compiler_for(store, base, wanted.arch, tell),
        methods_command(wanted.backend) if runs_here(wanted.arch) else (),
    )
    return layer(store, parent, tree, wanted.arch, compiled), program


def layer(store: Store, parent: str, tree: Path, arch: str, compiled: Compiled) -> str:
    """Return an image with the files of a tree over a parent, and what is compiled of them.

    It is made unless the same is in the storage.
    """
    settle_modes(tree)
    made_of = [parent, _tree_digest(tree), arch, *COMPILE, str(compiled), store.version]
    image = f"localhost/edgehone-layer:{_digest(made_of)}"
    if store.has(image):
        return image
    with store.container(parent, arch) as container:
        store.run("copy", "-q", "--chown", "0:0", container, tree, "/")
        compile_python(store, container, compiled.compiler, [f"/{one}" for one in compiled.folders])
        if compiled.command:
            store.run("run", "--network", "none", container, "--", *compiled.command)
        store.commit(container, image)
    return image


def methods_command(backend: str) -> list[str]:
    """Return the command that compiles the methods of dataclasses in the image, and gathers its bytecode."""
    own = [one for some in registry.load(backend).NEEDS.engine.values() for one in some]
    modules = [*methods.MODULES, *(one for one in own if one.startswith("edgehone."))]
    return [f"/{HOME}/bin/python", "-I", "-m", methods.__name__, f"/{HOME}/methods.bin", *modules]


def final_image(store: Store, parent: str, arch: str, final: Final, image: str) -> None:
    """Store the whole image, with its settings."""
    settle_modes(final.tree)
    start = json.dumps([f"/{HOME}/bin/python", "-I", f"/{HOME}/start.py"])
    words = ["--entrypoint", start, "--cmd", "", "--user", f"{USER}:{USER}", "--port", "8080/tcp"]
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


def environment_of(backend: str) -> dict[str, str]:
    """Return the variables of the image: its own Python and llama.cpp take the place of installed environments."""
    needs = registry.load(backend).NEEDS
    name = (needs.environment or backend).upper().replace("-", "_")
    variables = {
        f"EDGEHONE_PYTHON_{name}": f"/{HOME}/bin/python",
        "EDGEHONE_HOME": "/tmp/edgehone",
        "HOME": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return {**variables, **({f"EDGEHONE_TOOLCHAIN_{name}": f"/{LLAMA}"} if needs.toolchain else {})}


def check_imports(store: Store, base: Base, image: str, wanted: wheels.Wanted) -> None:
    """Raise InputError with the message of the loader if a module or library cannot be loaded in the image."""
    if not runs_here(wanted.arch):
        return
    modules = [
        normalized(line.partition("==")[0]).replace("-", "_") for line in wheels.requirements(wanted).split()
    ]
    code = "\n".join([f"import {one}" for one in modules if one in _IMPORTED])
    if registry.load(wanted.backend).NEEDS.toolchain:
        code += f"\nimport ctypes; ctypes.CDLL('/{LLAMA}/bin/libllama.so')"
    with store.container(image, wanted.arch) as container:
        try:
            store.run("run", "--network", "none", container, "--", f"/{HOME}/bin/python", "-I", "-c", code)
        except SetupError as error:
            raise InputError(
                f"the base {base.said} lacks what the runtime needs: {error.message}",
                hint="name a base image that has it, or leave out --set base",
            ) from error


def _check_glibc(base: Base, needed: tuple[int, int], what: str) -> None:
    if needed > base.glibc:
        have, need = (".".join(map(str, one)) for one in (base.glibc, needed))
        raise InputError(
            f"the base {base.said} has glibc {have}; {what} needs {need}",
            hint="name a base image with a newer glibc, or leave out --set base",
        )


def _read(note: Path) -> Packages:
    data = json.loads(note.read_text("utf-8"))
    installed = tuple(wheels.Installed(**one) for one in data["installed"])
    return Packages(data["image"], installed, (data["glibc"][0], data["glibc"][1]))


def _digest(parts: Sequence[str]) -> str:
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

"""The layers of an image that runs `edgehone serve`: Python packages, then edgehone and the backend's programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgehone.backends import registry
from edgehone.core.errors import InputError, SetupError
from edgehone.execution.environments.installer import normalized
from edgehone.execution.home import file_lock
from edgehone.package.targets.container import glibc, methods, wheels
from edgehone.package.targets.container.base import COMPILE, Base, compiler_for, runs_here
from edgehone.package.targets.container.buildah import Store
from edgehone.package.targets.container.image import Compiled, Tell, check_glibc, digest_of, layer
from edgehone.package.targets.container.llama import LLAMA, Llama
from edgehone.package.targets.container.program import (
    HOME,
    STORED,
    site_packages,
    write_edgehone,
    write_environment,
    write_program,
)

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
    note = store.folder / "packages" / f"{digest_of(parts)}.json"
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
            check_glibc(base, needed, "the packages of Python")
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
) -> tuple[str, Llama]:
    """Return the image with edgehone and the backend's programs, and what they need."""
    tree = scratch / "program"
    write_environment(tree, base)
    write_edgehone(tree, base)
    program = write_program(tree, wanted.backend, wanted.arch, options, tell)
    check_glibc(base, glibc.needed_by(tree), "llama.cpp")
    compiled = Compiled(
        [f"{site_packages(base)}/{one}" for one in ("edgehone", STORED)],
        compiler_for(store, base, wanted.arch, tell),
        methods_command(wanted.backend) if runs_here(wanted.arch) else (),
    )
    return layer(store, parent, tree, wanted.arch, compiled), program


def methods_command(backend: str) -> list[str]:
    """Return the command that compiles the methods of dataclasses in the image, and gathers its bytecode."""
    own = [one for some in registry.load(backend).NEEDS.engine.values() for one in some]
    modules = [*methods.MODULES, *(one for one in own if one.startswith("edgehone."))]
    return [f"/{HOME}/bin/python", "-I", "-m", methods.__name__, f"/{HOME}/methods.bin", *modules]


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


def _read(note: Path) -> Packages:
    data = json.loads(note.read_text("utf-8"))
    installed = tuple(wheels.Installed(**one) for one in data["installed"])
    return Packages(data["image"], installed, (data["glibc"][0], data["glibc"][1]))

"""What runs in an image: edgehone itself, llama.cpp where the backend needs it, and the first process."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from edgehone.backends import registry
from edgehone.execution.source_digest import package_path
from edgehone.package.targets.container.base import Base
from edgehone.package.targets.container.llama import Llama, write_llama

HOME: Final = "opt/edgehone"
_HERE = Path(__file__).parent
# The module of the image that `modules.py` is copied to, and what every process of the image does with it at its start.
STORED: Final = "edgehone_modules"
_AT_START: Final = f"import {STORED}; {STORED}.use()\n"
# Models and texts that ship with edgehone.
_EXAMPLES = ("demo-model", "digits", "texts")


def site_packages(base: Base) -> str:
    """Return the folder of Python packages in an image."""
    return f"{HOME}/lib/python{base.version}/site-packages"


def write_environment(tree: Path, base: Base) -> None:
    """Write a virtual environment of the base's Python: both processes of a server run in it."""
    binaries = tree / HOME / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(base.python)
    folder = base.python.rpartition("/")[0]
    text = f"home = {folder}\ninclude-system-site-packages = false\nversion = {base.version}\n"
    (tree / HOME / "pyvenv.cfg").write_text(text, "utf-8")


def write_edgehone(tree: Path, base: Base) -> None:
    """Write edgehone as it is installed here, without the models that ship with it."""
    place = tree / site_packages(base)
    place.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", *_EXAMPLES)
    shutil.copytree(package_path("edgehone"), place / "edgehone", ignore=ignored)
    own = distribution("edgehone")
    notes = place / f"edgehone-{own.version}.dist-info"
    notes.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (notes / name).write_text(own.read_text(name) or "", "utf-8")
    shutil.copyfile(_HERE / "start.py", tree / HOME / "start.py")
    (place / STORED).mkdir()
    shutil.copyfile(_HERE / "modules.py", place / STORED / "__init__.py")
    (place / f"{STORED}.pth").write_text(_AT_START, "utf-8")


def write_program(
    tree: Path, backend: str, arch: str, options: Mapping[str, str], tell: Callable[[str], None]
) -> Llama:
    """Write the backend's compiled programs, and cpu.json. `options` are the target's, with `toolchain` or `cpu`.

    Returns what they need with the wheels of the backend; the version is {} without llama.cpp. Raises InputError for a
    toolchain of another machine.
    """
    found = Llama((), {}, is_unknown=False)
    if registry.load(backend).NEEDS.toolchain is not None:
        found = write_llama(tree, backend, arch, options, tell, binding=True)
    wheels = tomllib.loads((_HERE / "cpu.toml").read_text("utf-8"))["wheels"][arch]
    found = replace(found, cpu=tuple(sorted({*wheels, *found.cpu})))
    (tree / HOME).mkdir(parents=True, exist_ok=True)
    (tree / HOME / "cpu.json").write_text(json.dumps(found.cpu) + "\n", "utf-8")
    return found

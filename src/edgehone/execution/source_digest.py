"""The code behind a job: where its package lies, and a digest of what a worker would run."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from edgehone.core.errors import EdgehoneError


@cache
def package_path(name: str) -> Path:
    """The folder of a package, or the file of a module, that a worker shall load."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise EdgehoneError(f"the package '{name}' has no place that a worker could load it from")
    origin = Path(found.origin)
    return origin.parent if found.submodule_search_locations else origin


@cache
def source_digest(*modules: str) -> str:
    """A digest of the source of these modules and of all that they import of their own packages.

    It stands for edgehone's own version of a step: a changed line that a worker could run is a new key, a changed
    line anywhere else (the report, the command line) is not.
    """
    packages = {module.partition(".")[0] for module in modules}
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found or module.partition(".")[0] not in packages:
            continue
        if source := _source(module):
            found[module] = source
            waiting += _imports(source)
    digest = hashlib.sha256()
    for module in sorted(found):
        digest.update(module.encode() + b"\0" + found[module].read_bytes())
    return digest.hexdigest()[:16]


@cache
def whole_digest(package: str) -> str:
    """A digest of all modules of a package."""
    digest = hashlib.sha256()
    place = package_path(package)
    for path in sorted(place.rglob("*.py")):
        digest.update(path.relative_to(place).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _source(module: str) -> Path | None:
    """The module's file; None for a name that is no module (`from package import function`)."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _imports(source: Path) -> Iterator[str]:
    """Every module that a file may import, anywhere in it; relative imports are not our style."""
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)

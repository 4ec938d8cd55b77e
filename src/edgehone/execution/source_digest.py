"""Digests of the source code that a job runs. They are part of the job's key (`Job.identity`).

What counts is code: the syntax tree of a module without docstrings, comments, formatting and blocks under
`if TYPE_CHECKING`. The digest of a job covers the module of its function, the backend's module if the job opens a
session of it, and every module of their packages that these import, at the top of the file or inside a function. It
therefore does not change when other parts of edgehone change (gates, reports, the command line).

Two kinds of files are not followed by themselves:

- A script that a step starts by its path. The step imports the script and takes the path from its `__file__`, so that
  the import is followed.
- A data file beside a module. Most of these (recipes.toml) are read by the core only, which hands the values on in the
  arguments of the job, and the arguments are in the key already. A module that reads a data file in the worker names it
  in a literal `WORKER_DATA_FILES = ("providers.toml",)`, and its content is then part of the digest.

The modules that start a worker (`bootstrap`, `worker_process`) are left out: they transport arguments and results
and compute neither.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from edgehone.core.errors import EdgehoneError

DATA_FILES_CONSTANT = "WORKER_DATA_FILES"


@cache
def package_path(name: str) -> Path:
    """Return the folder of a package, or the file of a module, that a worker loads."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise EdgehoneError(f"the package '{name}' has no file that a worker could load")
    origin = Path(spec.origin)
    return origin.parent if spec.submodule_search_locations else origin


@cache
def source_digest(*modules: str) -> str:
    """Return 16 hex digits that identify the code of these modules and of all that they import of their packages."""
    packages = {module.partition(".")[0] for module in modules}
    reached: dict[str, str] = {}
    pending = list(modules)
    while pending:
        module = pending.pop()
        if module in reached or module.partition(".")[0] not in packages:
            continue
        if path := _module_file(module):
            code = _read_code(path, module)
            reached[module] = code.digest
            pending += code.imports
    digest = hashlib.sha256()
    for module in sorted(reached):
        digest.update(f"{module}\0{reached[module]}\0".encode())
    return digest.hexdigest()[:16]


def module_digest(module: str) -> str:
    """Return 16 hex digits that identify the code of one module alone. Raises EdgehoneError if it is not found."""
    path = _module_file(module)
    if path is None:
        raise EdgehoneError(f"the module '{module}' cannot be found")
    return _read_code(path, module).digest[:16]


@cache
def whole_digest(package: str) -> str:
    """Return a digest of the files of all modules of a package, comments included: it identifies an installation."""
    digest = hashlib.sha256()
    folder = package_path(package)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Code:
    """What a module's source says: the digest of its code, the names it imports, the data files it declares."""

    digest: str
    imports: tuple[str, ...]
    data_files: tuple[str, ...]


def _read_code(path: Path, module: str) -> _Code:
    """Read a module. Its digest includes the content of the data files that it declares."""
    code = _parse(_read(path), module if path.name == "__init__.py" else module.rpartition(".")[0])
    if not code.data_files:
        return code
    digest = hashlib.sha256(code.digest.encode())
    for name in code.data_files:
        digest.update(f"\0{name}\0{_data(path.with_name(name))}".encode())
    return replace(code, digest=digest.hexdigest())


def _read(path: Path) -> str:
    return path.read_text("utf-8")


@cache
def _parse(source: str, package: str) -> _Code:
    """Parse a module of the package `package`."""
    tree = ast.parse(source)
    digest = hashlib.sha256(repr(_canonical(tree)).encode()).hexdigest()
    return _Code(digest, tuple(_imports(tree, package)), _declared_data_files(tree))


def _module_file(module: str) -> Path | None:
    """Return the module's file; None for a name that is no module (`from package import function`)."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _canonical(node: Any) -> Any:
    """Return a syntax tree as nested tuples that do not depend on positions, docstrings or the version of Python.

    Empty fields are left out, because newer versions of Python add some (`type_params`). So is `kind` (the u of u""),
    and so is the empty string that Python 3.12 adds to some f-strings.
    """
    if isinstance(node, list):
        return tuple(_canonical(one) for one in node if not _has_no_effect(one))
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.JoinedStr):
        parts = [one for one in node.values if not (isinstance(one, ast.Constant) and one.value == "")]
        return ("JoinedStr", ("values", _canonical(parts)))
    if _is_type_checking_block(node):
        return ("Else", _canonical(node.orelse))  # type: ignore[attr-defined]
    fields = ((name, getattr(node, name, None)) for name in node._fields if name not in ("ctx", "kind"))
    return (
        type(node).__name__,
        *((name, _canonical(value)) for name, value in fields if value is not None and value != []),
    )


def _has_no_effect(node: Any) -> bool:
    """Return True for a docstring or another string that stands as a statement."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_type_checking_block(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Yield every name that may be a module imported at run time, anywhere below the node."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = resolve_name("." * child.level + (child.module or ""), package)
            yield module
            yield from (f"{module}.{alias.name}" for alias in child.names)
        elif _is_type_checking_block(child):
            for statement in child.orelse:  # type: ignore[attr-defined]
                yield from _imports(ast.Module([statement], []), package)
        else:
            yield from _imports(child, package)


def _declared_data_files(tree: ast.Module) -> tuple[str, ...]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(one, ast.Name) and one.id == DATA_FILES_CONSTANT for one in targets):
                return tuple(ast.literal_eval(node.value))
    return ()


def _data(path: Path) -> str:
    """Return the content of a data file; of a TOML file its values, without comments."""
    text = _read(path)
    return json.dumps(tomllib.loads(text), sort_keys=True, default=str) if path.suffix == ".toml" else text

"""Check the direction of imports inside the package: `python tools/check_imports.py`; one line a problem, then exit 1.

Three rules:

1. A unit of ORDER imports only units to its left.
2. No modules import each other in a circle. Imports for the type checker count as well.
3. Loading a module of `worker/` imports the standard library, numpy and edgehone, directly or through other modules,
   and nothing else.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The package's own __init__ is left out: it imports on demand.
ORDER = (
    "core → formats → model → device → inputs → transform.precision → transform.adapters → backends → "
    "transform.surgery → plan → execution → hub → worker → evaluation → drift → decision → bundle → report → "
    "attestation → inference → rollout.decision → serve "
    "→ monitor → optimize → conformance → profiling → diagnosis → certify → registry → package → operate "
    "→ rollout.drive → fleet → pipeline → cli"
)
_UNITS = ORDER.split(" → ")
_PACKAGE = "edgehone"


@dataclass(frozen=True)
class Import:
    """An imported module. `lazy`: imported inside a function. `typing`: imported for the type checker only."""

    name: str
    lazy: bool
    typing: bool


def check(root: Path) -> list[str]:
    """Return every problem, one line each."""
    found = read_imports(root)
    return [*check_order(found), *check_circles(found), *check_worker(found)]


def read_imports(root: Path) -> dict[str, list[Import]]:
    """Return the imports of each module by its name; imports name packages and modules, not their contents."""
    paths = {_module(root, path): path for path in sorted((root / "src" / _PACKAGE).rglob("*.py"))}
    return {name: list(_imports(ast.parse(path.read_text("utf-8")), paths)) for name, path in paths.items()}


def check_order(found: Mapping[str, list[Import]]) -> Iterator[str]:
    """Yield imports that ORDER forbids. Imports for the type checker are exempt here (but not from circles)."""
    for module, imports in found.items():
        if module == _PACKAGE:
            continue
        own = unit_of(module)
        if own is None:
            yield f"{module} has no place in the order of imports (tools/check_imports.py)"
            continue
        for name in sorted(
            {one.name for one in imports if not one.typing and one.name.startswith(f"{_PACKAGE}.")}
        ):
            unit = unit_of(name)
            if unit is None or _UNITS.index(unit) > _UNITS.index(own):
                yield f"{module}: {own} may not import {unit or name}"


def unit_of(module: str) -> str | None:
    """Return the unit of ORDER that a module belongs to, or None."""
    inner = module.removeprefix(f"{_PACKAGE}.")
    fitting = [unit for unit in _UNITS if inner == unit or inner.startswith(f"{unit}.")]
    if not fitting and inner in {unit.partition(".")[0] for unit in _UNITS}:
        return next(unit for unit in _UNITS if unit.startswith(f"{inner}."))  # a package of several units
    return fitting[0] if fitting else None


def check_circles(found: Mapping[str, list[Import]]) -> Iterator[str]:
    """Yield groups of modules that import each other, directly or through others."""
    graph = {
        module: {one.name for one in imports if one.name in found and one.name != module}
        for module, imports in found.items()
    }
    graph.pop(_PACKAGE, None)
    for group in _strongly_connected(graph):
        if len(group) > 1:
            yield f"a circle of imports: {' ↔ '.join(sorted(group))}"


def check_worker(found: Mapping[str, list[Import]]) -> Iterator[str]:
    """Yield what loading a module of `worker/` imports besides the standard library, numpy and edgehone."""
    for module in sorted(found):
        if f"{module}.".startswith(f"{_PACKAGE}.worker."):
            for through, name in sorted(_foreign(module, found)):
                yield (
                    f"{module}: imports {name} when loaded ({through}); "
                    "a worker has numpy and the backend's framework"
                )


def _foreign(module: str, found: Mapping[str, list[Import]]) -> set[tuple[str, str]]:
    seen, waiting, foreign = set(), [module], set()
    while waiting:
        if (current := waiting.pop()) in seen:
            continue
        seen.add(current)
        for one in found[current]:
            top = one.name.partition(".")[0]
            if one.lazy or one.typing:
                continue
            if one.name in found:
                waiting.append(one.name)
            elif top not in sys.stdlib_module_names and top not in ("numpy", _PACKAGE):
                foreign.add((current, one.name))
    return foreign


def _strongly_connected(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components, by Tarjan's algorithm (SIAM J. Comput. 1, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            groups.append(stack[at:])
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return groups


def _module(root: Path, path: Path) -> str:
    parts = path.relative_to(root / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(
    tree: ast.AST, modules: Mapping[str, Path], lazy: bool = False, typing: bool = False
) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, lazy, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield Import(full if full in modules else node.module, lazy, typing)
        else:
            inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typed = typing or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
            yield from _imports(node, modules, inside, typed)


def main() -> int:
    """Print every problem and return the exit code."""
    for problem in (problems := check(ROOT)):
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

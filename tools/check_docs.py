"""Check that the documentation is true to the code: `python tools/check_docs.py`; one line a problem, then exit 1.

`--write` renews the help texts in docs/cli.md.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import edgehone
from edgehone.cli.main import VERBS

ROOT = Path(__file__).resolve().parent.parent
# A module or package of edgehone may import what is left of it, never what is right of it. Imports for the type
# checker alone do not count, nor does the package's own __init__, which imports on demand.
ORDER = (
    "figure → errors → events → config → model → device → precision → backends → surgery → plan → jobs → measure "
    "→ decide → stages → conformance → report → bundle → profiling → optimize → compare → diagnosis → cli"
)
_MODULES = ORDER.split(" → ")
_HELP = re.compile(r"(```text\n\$ (edgehone[\w ]*) --help\n)(.*?)(```)", re.S)
_FENCE = re.compile(r"^ *```.*?^ *```", re.S | re.M)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:(?:src|docs|tests|examples|benchmarks|tools)/|\.\./)[^\s`]*)`")


def documents(root: Path) -> list[Path]:
    """The files that people read."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md"))]


def check(root: Path) -> list[str]:
    """Every problem, one line each; none where all is well."""
    rules = (check_help, check_paths, check_public_names, check_architecture, check_docstrings, check_imports)
    return [problem for rule in rules for problem in rule(root)]


def check_help(root: Path) -> Iterator[str]:
    """docs/cli.md holds the real help of edgehone and of every verb."""
    shown = {
        command: text for _, command, text, _ in _HELP.findall((root / "docs" / "cli.md").read_text("utf-8"))
    }
    known = ["edgehone", *(f"edgehone {verb}" for verb in VERBS)]
    for command in known:
        # Words, since not every version of Python breaks the lines alike.
        if command not in shown:
            yield f"docs/cli.md: no help of '{command}'"
        elif shown[command].split() != real_help(command).split():
            yield f"docs/cli.md: the help of '{command}' is out of date: python tools/check_docs.py --write"
    yield from (f"docs/cli.md: there is no '{command}'" for command in shown if command not in known)


def real_help(command: str) -> str:
    """What `command --help` prints."""
    words = [sys.executable, "-m", "edgehone.cli.main", *command.split()[1:], "--help"]
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout


def write_help(root: Path) -> None:
    """Renew the help texts in docs/cli.md."""
    path = root / "docs" / "cli.md"
    text = _HELP.sub(lambda hit: f"{hit[1]}{real_help(hit[2]).rstrip()}\n{hit[4]}", path.read_text("utf-8"))
    path.write_text(text, "utf-8")


def check_paths(root: Path) -> Iterator[str]:
    """Relative links, and paths of the repository in backticks, lead somewhere. `*` stands for any name."""
    for path in documents(root):
        text = _FENCE.sub("", path.read_text("utf-8"))
        links = [link.partition("#")[0] for link in _LINK.findall(text) if not re.match(r"[a-z]+:|#", link)]
        places = [(link, path.parent) for link in links]
        places += [(name, path.parent if name.startswith("../") else root) for name in _PATH.findall(text)]
        for name, base in places:
            if not (any(base.glob(name)) if "*" in name else (base / name).exists()):
                yield f"{path.relative_to(root)}: there is no {name}"


def check_public_names(root: Path) -> Iterator[str]:
    """Every public name of the library is in the README or the docs, as code."""
    text = "".join(path.read_text("utf-8") for path in documents(root))
    for name in edgehone.__all__:
        if not re.search(rf"\bedgehone\.{name}\b|`{name}\b", text):
            yield f"edgehone.{name} is in neither README.md nor docs/"


def check_architecture(root: Path) -> Iterator[str]:
    """docs/architecture.md names every folder of the package, and the order of imports."""
    text = (root / "docs" / "architecture.md").read_text("utf-8")
    for folder in sorted({path.parent for path in (root / "src" / "edgehone").rglob("*") if path.is_file()}):
        if folder.name != "__pycache__" and not re.search(rf"\b{folder.name}/", text):
            yield f"docs/architecture.md: {folder.relative_to(root)}/ is not named"
    if ORDER not in " ".join(text.split()):
        yield f"docs/architecture.md: the order of imports is not {ORDER}"


def check_docstrings(root: Path) -> Iterator[str]:
    """Every module, public class, function and method says what it is."""
    for path, tree in _sources(root):
        for node in (tree, *_public(tree)):
            if not ast.get_docstring(node):
                yield f"{path.relative_to(root)}: {getattr(node, 'name', 'the module')} has no docstring"


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node
            yield from _public(node) if isinstance(node, ast.ClassDef) else ()


def check_imports(root: Path) -> Iterator[str]:
    """Imports go one way, along ORDER."""
    for path, tree in _sources(root):
        own = path.relative_to(root / "src" / "edgehone").parts[0].removesuffix(".py")
        if own not in (*_MODULES, "__init__"):
            yield f"{path.relative_to(root)}: {own} has no place in the order of imports (tools/check_docs.py)"
        elif own != "__init__":
            behind = sorted(_imports(tree) - set(_MODULES[: _MODULES.index(own) + 1]))
            yield from (f"{path.relative_to(root)}: {own} may not import {name}" for name in behind)


def _imports(tree: ast.AST) -> set[str]:
    """The modules and packages directly under edgehone that are really imported."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            found |= {f"edgehone.{name}" for name in _imports(node)}
    return {name.split(".")[1] for name in found if name.startswith("edgehone.")}


def _sources(root: Path) -> list[tuple[Path, ast.Module]]:
    return [
        (path, ast.parse(path.read_text("utf-8")))
        for path in sorted((root / "src" / "edgehone").rglob("*.py"))
    ]


def main(arguments: Sequence[str]) -> int:
    """Check, or with --write renew first; returns the exit code."""
    if "--write" in arguments:
        write_help(ROOT)
    for problem in (problems := check(ROOT)):
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

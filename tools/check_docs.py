"""Check the documentation against the code: `python tools/check_docs.py` prints one line per problem and exits 1.

`--write` updates the help texts in docs/cli.md.
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
from check_imports import ORDER
from edgehone.cli import verbs

ROOT = Path(__file__).resolve().parent.parent
_HELP = re.compile(r"(```text\n\$ (edgehone[\w ]*) --help\n)(.*?)(```)", re.S)
_FENCE = re.compile(r"^ *```.*?^ *```", re.S | re.M)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:(?:src|docs|tests|examples|benchmarks|tools)/|\.\./)[^\s`]*)`")


def documents(root: Path) -> list[Path]:
    """Return the Markdown files of the repository's root and of docs/."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md"))]


def check(root: Path) -> list[str]:
    """Return every problem, one line each."""
    rules = (check_help, check_paths, check_public_names, check_architecture, check_docstrings)
    return [problem for rule in rules for problem in rule(root)]


def check_help(root: Path) -> Iterator[str]:
    """Yield a problem for each command whose help in docs/cli.md is missing, outdated or of no existing command."""
    shown = {
        command: text for _, command, text, _ in _HELP.findall((root / "docs" / "cli.md").read_text("utf-8"))
    }
    builtin = [name for name, verb in verbs.registered().items() if verb.module.startswith("edgehone.")]
    known = ["edgehone", *(f"edgehone {name}" for name in builtin)]
    known += [f"edgehone {name} {action}" for name in builtin for action in _actions(name)]
    for command in known:
        # Compare words: the line breaks of argparse differ between versions of Python.
        if command not in shown:
            yield f"docs/cli.md: no help of '{command}'"
        elif shown[command].split() != real_help(command).split():
            yield f"docs/cli.md: the help of '{command}' is out of date: python tools/check_docs.py --write"
    yield from (f"docs/cli.md: there is no '{command}'" for command in shown if command not in known)


def _actions(verb: str) -> Sequence[str]:
    """The actions of a verb that have a help of their own."""
    return getattr(verbs.load(verb), "ACTIONS", ())


def real_help(command: str) -> str:
    """Return what `command --help` prints, 100 columns wide."""
    words = [sys.executable, "-m", "edgehone.cli.main", *command.split()[1:], "--help"]
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout


def write_help(root: Path) -> None:
    """Update the help texts in docs/cli.md."""
    path = root / "docs" / "cli.md"
    text = _HELP.sub(lambda hit: f"{hit[1]}{real_help(hit[2]).rstrip()}\n{hit[4]}", path.read_text("utf-8"))
    path.write_text(text, "utf-8")


def check_paths(root: Path) -> Iterator[str]:
    """Yield a problem for each relative link or path in backticks that does not exist. `*` matches any name."""
    for path in documents(root):
        text = _FENCE.sub("", path.read_text("utf-8"))
        links = [link.partition("#")[0] for link in _LINK.findall(text) if not re.match(r"[a-z]+:|#", link)]
        targets = [(link, path.parent) for link in links]
        targets += [(name, path.parent if name.startswith("../") else root) for name in _PATH.findall(text)]
        for name, base in targets:
            if not (any(base.glob(name)) if "*" in name else (base / name).exists()):
                yield f"{path.relative_to(root)}: there is no {name}"


def check_public_names(root: Path) -> Iterator[str]:
    """Yield each public name of the library that neither the README nor docs/ mention as code."""
    text = "".join(path.read_text("utf-8") for path in documents(root))
    for name in edgehone.__all__:
        if not re.search(rf"\bedgehone\.{name}\b|`{name}\b", text):
            yield f"edgehone.{name} is in neither README.md nor docs/"


def check_architecture(root: Path) -> Iterator[str]:
    """Yield what docs/architecture.md lacks: folders of the package, and the order of imports.

    Folders inside that of a target are left out: they are templates.
    """
    text = (root / "docs" / "architecture.md").read_text("utf-8")
    targets = root / "src" / "edgehone" / "package" / "targets"
    for folder in sorted({path.parent for path in (root / "src" / "edgehone").rglob("*") if path.is_file()}):
        if targets in folder.parents and folder.parent != targets:
            continue
        if folder.name != "__pycache__" and not re.search(rf"\b{folder.name}/", text):
            yield f"docs/architecture.md: {folder.relative_to(root)}/ is not named"
    if ORDER not in " ".join(text.split()):
        yield f"docs/architecture.md: the order of imports is not {ORDER}"


def check_docstrings(root: Path) -> Iterator[str]:
    """Yield each module, public class, function and method that has no docstring."""
    for path, tree in _sources(root):
        for node in (tree, *_public(tree)):
            if not ast.get_docstring(node):
                yield f"{path.relative_to(root)}: {getattr(node, 'name', 'the module')} has no docstring"


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node
            yield from _public(node) if isinstance(node, ast.ClassDef) else ()


def _sources(root: Path) -> list[tuple[Path, ast.Module]]:
    return [
        (path, ast.parse(path.read_text("utf-8")))
        for path in sorted((root / "src" / "edgehone").rglob("*.py"))
    ]


def main(arguments: Sequence[str]) -> int:
    """Check, after updating the help texts if --write is given, and return the exit code."""
    if "--write" in arguments:
        write_help(ROOT)
    for problem in (problems := check(ROOT)):
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

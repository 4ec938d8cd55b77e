"""Compile the methods of dataclasses when an image is built, which a server otherwise does each time that it starts.

    python -m edgehone.package.targets.container.methods FILE MODULE …    write what importing the modules compiles

The module `dataclasses` writes the methods of a class as a text, and compiles it by `exec`: for the classes of a server
a fifth of the time of its imports. `use` puts an `exec` in its place that looks for the text in the file. A text that
is not there, as with another version of Python, is compiled as before.
"""

from __future__ import annotations

import builtins
import dataclasses
import importlib
import marshal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

# What `edgehone serve` imports until it is ready.
MODULES = ("edgehone.cli.serve", "edgehone.serve.models", "edgehone.serve.server", "edgehone.monitor.board")
# The last format of marshal that does not depend on who else refers to an object: the same bytes each time.
_FORMAT = 2


def use(file: Path) -> None:
    """Let dataclasses take the methods of a file."""
    compiled: dict[str, bytes] = marshal.loads(file.read_bytes())

    def code_of(text: str) -> CodeType | str:
        return marshal.loads(compiled[text]) if text in compiled else text

    _exec_by(code_of)


def write(file: Path, modules: Sequence[str]) -> None:
    """Import modules and write the methods of their dataclasses, of those that were not imported before."""
    compiled: dict[str, bytes] = {}

    def code_of(text: str) -> CodeType:
        code = compile(text, "<string>", "exec")
        compiled[text] = marshal.dumps(code, _FORMAT)
        return code

    _exec_by(code_of)
    for name in modules:
        importlib.import_module(name)
    file.write_bytes(marshal.dumps(dict(sorted(compiled.items())), _FORMAT))


def _exec_by(code_of: Callable[[str], CodeType | str]) -> None:
    def run(text: str, own: dict[str, Any] | None = None, names: dict[str, Any] | None = None) -> None:
        builtins.exec(code_of(text), own, names)

    vars(dataclasses)["exec"] = run


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:])

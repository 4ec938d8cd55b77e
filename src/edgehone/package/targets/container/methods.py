"""Compile the methods of dataclasses when an image is built, which a server otherwise does each time that it starts.

    python -m edgehone.package.targets.container.methods FILE MODULE …    write what importing the modules compiles

The command also writes the bytecode of all modules that are imported then, beside FILE (`modules.py`).

The module `dataclasses` writes the methods of a class as a text, and compiles it by `exec`: for the classes of a server
a fifth of the time of its imports. `modules.use_methods` puts an `exec` in its place that looks for the text in the
file. A text that is not there, as with another version of Python, is compiled as before.
"""

from __future__ import annotations

import builtins
import dataclasses
import importlib
import marshal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.package.targets.container import modules as stored

# What `edgehone serve` and its processes import until they are ready.
MODULES = (
    "edgehone.cli.serve", "edgehone.serve.models", "edgehone.serve.server", "edgehone.monitor.board",
    "edgehone.execution.worker_process", "edgehone.worker.engine", "edgehone.worker.text_service",
)  # fmt: skip
# The last format of marshal that does not depend on who else refers to an object: the same bytes each time.
_FORMAT = 2


def write(file: Path, modules: Sequence[str]) -> None:
    """Import modules and write the methods of their dataclasses, of those that were not imported before."""
    compiled: dict[str, bytes] = {}

    def run(text: str, own: dict[str, Any] | None = None, names: dict[str, Any] | None = None) -> None:
        code = compile(text, "<string>", "exec")
        compiled[text] = marshal.dumps(code, _FORMAT)
        builtins.exec(code, own, names)

    vars(dataclasses)["exec"] = run
    for name in modules:
        importlib.import_module(name)
    file.write_bytes(marshal.dumps(dict(sorted(compiled.items())), _FORMAT))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:])
    stored.write(str(Path(sys.argv[1]).with_name(stored.NAME)), list(sys.modules))

"""Run edgehone's own code in a child process that ends with this one, whatever way this one ends.

The child leads a session, and watches the pipe of its standard input: if the parent is killed, it kills every process
of its session, so no server or build of a stage goes on without the pipeline.

It runs the same code as this process: it has the variables of this process, PYTHONPATH too, where backends and verbs of
others may be. The current folder, which is the user's, is not on its import path.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgehone.core.errors import EdgehoneError, JobError
from edgehone.execution.bootstrap import end_with_parent
from edgehone.execution.subprocesses import run_lines

# By name: the command line stands above this package in the order of imports.
_COMMAND_LINE: Final = "edgehone.cli.main:main"
# What is kept of a child's output: a decision of 100 candidates has 1 MB.
_MOST: Final = 64 << 20


@dataclass(frozen=True)
class Done:
    """A child that has ended: its exit code, what it wrote to standard output, and the file with its other output."""

    words: Sequence[str]
    code: int
    text: str
    log: Path

    @property
    def facts(self) -> Any:
        """The JSON that it printed; {} if it printed none."""
        try:
            return json.loads(self.text)
        except ValueError:
            return {}

    @property
    def problem(self) -> str:
        """Why it failed: its error and hint, else the end of its output."""
        facts = self.facts
        if isinstance(facts, Mapping) and facts.get("error"):
            return str(facts["error"]) + (f" (next: {facts['hint']})" if facts.get("hint") else "")
        tail = " ".join(self.log.read_text("utf-8", "replace").split())[-400:]
        return f"exit code {self.code}" + (f": {tail}" if tail else "")


def verb(words: Sequence[str], log: Path) -> Done:
    """Run a verb of edgehone with --json. Its other output is appended to the file `log`."""
    return _run(_COMMAND_LINE, [*words, "--json"], log)


def call(function: str, arguments: Mapping[str, Any], log: Path) -> Any:
    """Call `module:function` with keyword arguments that JSON can hold, and return what it returns.

    Raises JobError, with the error's message, if it raises one.
    """
    done = _run(function, [json.dumps(arguments)], log)
    if done.code != 0:
        raise JobError(done.problem, log=log)
    return done.facts


def _run(function: str, words: Sequence[str], log: Path) -> Done:
    lines: list[str] = []
    size = 0

    def keep(line: str) -> None:
        nonlocal size
        size += len(line)
        if size < _MOST:
            lines.append(line)

    command = [sys.executable, "-P", "-m", __name__, function, *words]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as errors:
        code = run_lines(command, keep, env=os.environ, cwd=Path.cwd(), stderr=errors)
    return Done(words, code, "\n".join(lines), log)


def _main(function: str, words: Sequence[str]) -> int:
    end_with_parent()
    module, _, name = function.partition(":")
    found = getattr(importlib.import_module(module), name)
    if function == _COMMAND_LINE:
        return int(found(words))
    try:
        sys.stdout.write(json.dumps(found(**json.loads(words[0]))))
    except EdgehoneError as error:
        sys.stdout.write(json.dumps({"error": error.message, "hint": error.hint}))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2:]))

"""The child process that builds a toolchain, run by the Python of the backend's environment.

That environment has none of edgehone's dependencies, so this module and its imports use the standard library only.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from edgehone.core.errors import EdgehoneError
from edgehone.execution.bootstrap import end_with_parent


def make(call: str, folder: str, *args: str) -> None:
    """Call the maker `call` with the folder and the further arguments.

    It reports on standard output, one JSON object per line.
    """
    end_with_parent()
    # What the maker or its children print goes to the log, not between the lines of this report.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(**message: Any) -> None:
        print(json.dumps(message), file=channel, flush=True)

    module, _, function = call.partition(":")
    try:
        versions = getattr(importlib.import_module(module), function)(
            Path(folder), lambda doing: report(progress=str(doing)), *args
        )
    except EdgehoneError as error:
        report(error={"message": error.message, "hint": error.hint})
    except Exception as error:
        report(error={"message": f"{call} failed: {type(error).__name__}: {error}", "hint": None})
        raise
    else:
        report(versions=dict(versions or {}))

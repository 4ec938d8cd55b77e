"""The child's side of a job: read job.json, call the function, write result.json.

It runs in the environment of a backend and therefore imports only the standard library and edgehone; the function
that it calls imports its framework. The parent holds the other end of this process's standard input: when the parent
ends, for whatever reason, that pipe closes and this process ends itself and all that it started.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.device.clocks import jump, read_clocks
from edgehone.execution.bootstrap import end_with_parent


def main(path: str) -> None:
    """Run the job in the folder `path`. Writes result.json and exits with code 0, even if the function failed."""
    if os.environ.get("EDGEHONE_JOB") == "1":
        end_with_parent()
    folder = Path(path)
    started, clocks = time.perf_counter(), read_clocks()
    try:
        job = json.loads((folder / "job.json").read_text("utf-8"))
        result = {"ok": True, "facts": _run_function(job, folder)}
    except Exception as error:  # noqa: BLE001 - any exception of a toolchain is the result of this job
        traceback.print_exc()
        result = {"ok": False, "error": _describe(error)}
    result["seconds"] = time.perf_counter() - started
    result["clocks"] = jump(clocks, read_clocks())
    _write(folder / "result.json", json.dumps(result, indent=1))
    sys.stdout.flush()
    sys.stderr.flush()
    # The threads and destructors of a framework may hang or crash at exit. The result is written, so exit at once.
    os._exit(0)


def wait(path: str, channel: int, modules: list[str]) -> None:
    """Import modules, wait on the socket `channel` for the job in the folder `path`, and run it."""
    for name in modules:
        with contextlib.suppress(Exception):  # the job fails for the same reason, and then it is told
            importlib.import_module(name)
    if not os.read(channel, 1):  # there will be none: the parent has ended, or needs this process no more
        os._exit(0)
    main(path)


def load_function(name: str) -> Any:
    """Return the function that `module:function` names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _run_function(job: dict[str, Any], folder: Path) -> Any:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    progress_file = folder / "progress"

    def progress(fraction: float, doing: str) -> None:
        _write(progress_file, json.dumps([fraction, doing]))

    toolchain = job.get("toolchain")
    return load_function(job["call"])(
        WorkerJob(
            args=job["args"],
            inputs={name: Path(path) for name, path in job["inputs"].items()},
            out=out,
            toolchain=Path(toolchain) if toolchain else None,
            threads=job["threads"],
            progress=progress,
        )
    )


def _describe(error: Exception) -> dict[str, str | None]:
    message = str(error).strip() or type(error).__name__
    from_edgehone = type(error).__module__.startswith("edgehone.")
    return {
        "type": type(error).__name__,
        "message": message if from_edgehone else f"{type(error).__name__}: {message}",
        "hint": getattr(error, "hint", None),
    }


def _write(path: Path, text: str) -> None:
    """Replace a file at once, so that the parent never reads half of it."""
    staged = path.with_name(path.name + ".new")
    staged.write_text(text, "utf-8")
    staged.replace(path)

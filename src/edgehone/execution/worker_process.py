"""The child's side of a job: read job.json, call the function, write result.json.

Runs in a backend's own environment, so it imports the standard library only; the function that it calls
brings its framework. The parent holds the other end of this process's standard input: when the parent goes,
however it goes, that pipe closes and the whole process group ends itself.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.device.clocks import jump, read_clocks
from edgehone.execution.bootstrap import end_with_parent


def main(folder: str) -> None:
    """Run the job of `folder`; exits 0 with result.json written, whether the function failed or not."""
    if os.environ.get("EDGEHONE_JOB") == "1":
        end_with_parent()
    place = Path(folder)
    started, clocks = time.perf_counter(), read_clocks()
    try:
        job = json.loads((place / "job.json").read_text("utf-8"))
        result = {"ok": True, "facts": _call(job, place)}
    except Exception as error:  # noqa: BLE001 - whatever a toolchain raises is this job's result
        traceback.print_exc()
        result = {"ok": False, "error": _describe(error)}
    result["seconds"] = time.perf_counter() - started
    result["clocks"] = jump(clocks, read_clocks())
    _write(place / "result.json", json.dumps(result, indent=1))
    sys.stdout.flush()
    sys.stderr.flush()
    # Frameworks' threads and destructors may hang or crash at exit; the result is on disk, so just leave.
    os._exit(0)


def call(name: str) -> Any:
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _call(job: dict[str, Any], place: Path) -> Any:
    out = place / "out"
    out.mkdir(exist_ok=True)
    progress_file = place / "progress"

    def progress(fraction: float, what: str) -> None:
        _write(progress_file, json.dumps([fraction, what]))

    toolchain = job.get("toolchain")
    return call(job["call"])(
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
    known = type(error).__module__.startswith("edgehone.")
    return {
        "type": type(error).__name__,
        "message": message if known else f"{type(error).__name__}: {message}",
        "hint": getattr(error, "hint", None),
    }


def _write(path: Path, text: str) -> None:
    staged = path.with_name(path.name + ".new")
    staged.write_text(text, "utf-8")
    staged.replace(path)

"""Run a script as a job."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from edgehone.backends.sessions import WorkerJob


def run(job: WorkerJob) -> None:
    """Run inputs["script"] with args["words"] and `--out out/NAME`, where NAME is args["name"]."""
    script = job.inputs["script"]
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script), "--out", str(job.out / job.args["name"]), *job.args["words"]]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"{Path(script).name} ended with {ended.code}") from ended

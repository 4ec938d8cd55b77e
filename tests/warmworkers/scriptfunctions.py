"""Run a script as a job."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from edgehone.backends.sessions import WorkerJob


def run(job: WorkerJob) -> None:
    """Run inputs["script"] with `--out out/NAME`, where NAME is args["name"], and args["words"]; OUT is `out` there."""
    script = job.inputs["script"]
    words = [str(word).replace("OUT", str(job.out)) for word in job.args["words"]]
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script), "--out", str(job.out / job.args["name"]), *words]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"{Path(script).name} ended with {ended.code}") from ended

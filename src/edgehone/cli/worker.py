"""Run a Dask worker on this machine, which builds for a cluster or is measured as a device.

A worker runs one job at a time. It keeps environments, inputs and finished jobs under EDGEHONE_HOME. It restarts by
itself if its process dies. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec

EXAMPLE = """examples:
  edgehone worker tcp://desk:8786
  edgehone worker tcp://desk:8786 --device raspberry-pi-5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "scheduler", metavar="SCHEDULER", help="address of the running `dask scheduler`: tcp://host:8786"
    )
    parser.add_argument(
        "--device", metavar="NAME", help="only measure, as the device of this name (default: build and score)"
    )


def run(args: argparse.Namespace) -> int:
    """Replace this process by a Dask worker with one thread and a resource that says what it is for."""
    from edgehone.core.errors import InputError, SetupError
    from edgehone.execution.remote.cluster import BUILD, INSTALL

    name = args.device or BUILD
    if not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"--device {name}: letters, digits, - and _ only", hint="edgehone device list")
    if find_spec("distributed") is None:
        raise SetupError("dask.distributed is not installed", hint=INSTALL)
    # The folder of the user is not on the import path: a file of his may have the name of a module.
    command = ["-P", "-m", "distributed.cli.dask_worker", args.scheduler]
    command += ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--resources", f"{name}=1"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *command])

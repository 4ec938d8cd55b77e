"""Serve a Dask cluster with this machine: as a device that is measured, or as a builder.

A worker takes one job at a time. It keeps environments, inputs and finished jobs under EDGEHONE_HOME, like any machine.
It ends with Ctrl-C, and comes back by itself if it dies.
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
    """The verb's arguments."""
    parser.add_argument("scheduler", metavar="SCHEDULER", help="tcp://host:8786, where `dask scheduler` runs")
    parser.add_argument(
        "--device", metavar="NAME", help="measure only, as the device of this name (default: build and score)"
    )


def run(args: argparse.Namespace) -> int:
    """Become a Dask worker: one thread, and what it is for as a resource."""
    from edgehone.core.errors import InputError, SetupError
    from edgehone.execution.remote.cluster import BUILD, INSTALL

    name = args.device or BUILD
    if not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"--device {name}: letters, digits, - and _ only", hint="edgehone device list")
    if find_spec("distributed") is None:
        raise SetupError("dask.distributed is not installed", hint=INSTALL)
    words = ["-m", "distributed.cli.dask_worker", args.scheduler]
    words += ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--resources", f"{name}=1"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *words])

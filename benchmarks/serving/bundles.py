"""The bundles that are served if none are given: the demo model and the digits, by each framework."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from edgehone.execution.home import home

DATA = Path(__file__).parents[2] / "src" / "edgehone" / "data"
DEMO = (str(DATA / "demo-model"),)
DIGITS = (str(DATA / "digits" / "digits.onnx"), "--eval", str(DATA / "digits" / "evaluation.npz"))
# What is served is measured here, not whether it was worth building.
GATES = [word for gate in ("memory_cut", "speedup", "size_cut") for word in ("--gate", f"{gate}=off")]


def demo_bundles() -> list[Path]:
    """Return the bundles, in EDGEHONE_HOME; those that are missing are made."""
    return list(_made())


def _made() -> Iterator[Path]:
    for name, model in (("demo", DEMO), ("digits", DIGITS)):
        for backend in ("llamacpp", "openvino", "olive"):
            if (name, backend) == ("digits", "llamacpp"):
                continue
            out = home() / "benchmarks" / "serving" / f"{name}-{backend}"
            if not out.exists():
                words = [
                    "optimize",
                    *model,
                    "--effort",
                    "quick",
                    "--backends",
                    backend,
                    *GATES,
                    "--out",
                    str(out),
                ]
                subprocess.run([sys.executable, "-m", "edgehone.cli.main", *words], check=True)
            yield out

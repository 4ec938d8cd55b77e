"""The bundles that are served if none are given: the demo model and the digits, by each framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgehone.execution.home import home

DATA = Path(__file__).parents[2] / "src" / "edgehone" / "data"
DEMO = (str(DATA / "demo-model"),)
DIGITS = (str(DATA / "digits" / "digits.onnx"), "--eval", str(DATA / "digits" / "evaluation.npz"))
# What is served is measured here, not whether it was worth building.
GATES = [
    word
    for gate in ("memory_cut", "speedup", "size_cut", "gain", "loss")
    for word in ("--gate", f"{gate}=off")
]


MODELS = {"demo": DEMO, "digits": DIGITS}


def demo_bundles() -> list[Path]:
    """Return the bundles, in EDGEHONE_HOME; those that are missing are made."""
    pairs = [(name, backend) for name in MODELS for backend in ("llamacpp", "openvino", "olive")]
    return [demo_bundle(*one) for one in pairs if one != ("digits", "llamacpp")]


def demo_bundle(name: str, backend: str) -> Path:
    """Return the bundle of the demo model or the digits by one backend; it is made if it is missing."""
    out = home() / "benchmarks" / "serving" / f"{name}-{backend}"
    if not out.exists():
        options = ["--effort", "quick", "--backends", backend, *GATES, "--out", str(out)]
        words = ["optimize", *MODELS[name], *options]
        subprocess.run([sys.executable, "-m", "edgehone.cli.main", *words], check=True)
    return out

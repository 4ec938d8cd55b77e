"""The bundles that are served if none are given: by each framework the demo model, the digits and a larger model.

The demo model gives a token in 0.1 to 0.25 ms, faster than any model of use. The larger one is a Llama of random
weights, with the size of the smallest that people serve.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.scaling import make_shape
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
# Layers and hidden size: 158 million parameters. Its answers are noise, so no build is refused for them.
LARGER, SHAPE = "random-158m", (13, 1024)
NOISE = [word for gate in ("accuracy_kept", "latency_cv") for word in ("--gate", f"{gate}=off")]
BRIEF = ["--config", str(Path(__file__).with_name("brief.toml")), "--workload", "brief"]
_BACKENDS = ("llamacpp", "openvino", "olive")


def demo_bundles() -> list[Path]:
    """Return the bundles, in EDGEHONE_HOME; those that are missing are made."""
    pairs = [(name, backend) for name in (*MODELS, LARGER) for backend in _BACKENDS]
    return [demo_bundle(*one) for one in pairs if one != ("digits", "llamacpp")]


def demo_bundle(name: str, backend: str) -> Path:
    """Return the bundle of a model by one backend; it is made if it is missing."""
    folder = home() / "benchmarks" / "serving"
    out = folder / f"{name}-{backend}"
    if not out.exists():
        model = _larger(folder / "models" / LARGER) if name == LARGER else MODELS[name]
        options = ["--effort", "quick", "--backends", backend, *GATES, "--out", str(out)]
        words = ["optimize", *model, *options]
        subprocess.run([sys.executable, "-m", "edgehone.cli.main", *words], check=True)
    return out


def _larger(folder: Path) -> tuple[str, ...]:
    """Return how the larger model is optimized; it is made if it is missing."""
    if not folder.exists():
        made = folder.with_suffix(".partial")
        make_shape(made, *SHAPE)
        made.rename(folder)
    return (str(folder), *NOISE, *BRIEF)

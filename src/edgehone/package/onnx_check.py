"""Check a packaged ONNX graph: onnxruntime, without code of edgehone, must give the proven outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgehone.backends.onnxruntime import backend as onnxruntime
from edgehone.package import canary_files
from edgehone.package.peers import PeerError, ask, python_of
from edgehone.package.target import Check


def check_graph(name: str, graph: Path, canary: Path, scratch: Path) -> Check:
    """Return the outcome, called `name`, for the file of a graph and the folder of a canary."""
    python = python_of(onnxruntime.NAME, onnxruntime.NEEDS)
    if python is None:
        return Check(name, "skipped", "onnxruntime is not installed: edgehone backends install onnxruntime")
    asked = {"graph": str(graph.absolute()), "canary": str(canary.absolute())}
    script = Path(__file__).with_name("ask_onnxruntime.py")
    return compare(name, python, script, asked, canary, scratch)


def compare(
    name: str, python: Path, script: Path, asked: Mapping[str, object], canary: Path, scratch: Path
) -> Check:
    """Run a script that writes the outputs for a canary to the file `out`, and compare them with the proven ones."""
    import numpy as np

    out = (scratch / "outputs.npz").absolute()
    try:
        ask(python, script, {**asked, "out": str(out)}, scratch)
    except PeerError as error:
        return Check(name, "failed", str(error))
    _, answer, allowed = canary_files.read(canary)
    with np.load(out) as found:
        worst = canary_files.differing(answer, dict(found), allowed)
    return Check(name, "failed" if worst else "passed", worst)

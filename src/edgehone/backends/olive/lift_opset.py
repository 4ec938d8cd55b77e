"""Raise the opset of an ONNX graph by onnx's own converter, and prove that it computes the same (worker side)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgehone.backends.olive import graph_build
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import onnx_files

# The version of the file's form since which weights need not be inputs of the graph.
_WEIGHTS_APART = 4
# Batches of samples that both graphs run.
_BATCHES = 8
# The largest difference, as a share of an output's largest entry: other kernels may sum in another order.
_SAME = 1e-5


def lift(job: WorkerJob) -> dict[str, Any]:
    """Convert the graph to the opset args["opset"] and compare it with the graph as it was, on calibration samples.

    inputs: graph, calibration. Returns `onnx_files.facts`, and the fact `nothing_to_gain`, with the reason, if the
    converter fails or the outputs differ: what needs the opset is then skipped.
    """
    import onnx
    from onnx import version_converter

    source, target = onnx_files.find(job.inputs["graph"]), job.out / "model.onnx"
    wanted = int(job.args["opset"])
    model = onnx.load(source)
    before = onnx_files.opset(model)
    # Until version 3 weights had to be inputs of the graph, too. Those that `prepare` has taken out of them would be
    # undefined for the converter ("Input 1 is undefined!").
    model.ir_version = max(model.ir_version, _WEIGHTS_APART)
    need = f"it needs opset {wanted}, and onnx's converter cannot raise opset {before}"
    job.progress(0.2, f"converting to opset {wanted}")
    try:
        lifted = version_converter.convert_version(model, wanted)
    except Exception as error:  # noqa: BLE001 - the converter raises RuntimeError for most and others for some
        return {"nothing_to_gain": f"{need}: {str(error).strip().splitlines()[0]}"}
    graph_build.save(lifted, target)
    job.progress(0.6, "comparing on samples")
    if (difference := _difference(job, source, target, lifted.graph)) is not None:
        return {"nothing_to_gain": f"{need} without changing it: {difference}"}
    return onnx_files.facts(target)


def _difference(job: WorkerJob, source: Path, target: Path, graph: Any) -> str | None:
    """Return how the outputs of both graphs differ by more than rounding, or None."""
    import numpy as np

    from edgehone.backends.onnxruntime.session import OrtSession

    batches, size = graph_build.samples(job, graph)
    exact = {"graph_optimization": "disabled"}
    try:
        one, other = (OrtSession(path, exact, job.threads) for path in (source, target))
    except Exception as error:  # noqa: BLE001 - whatever the runtime refuses
        return str(error).strip().splitlines()[0]
    for at in range(0, min(batches.count, _BATCHES * size), size):
        feeds = batches.around(at, size)
        first, second = one.run(feeds), other.run(feeds)
        for name, array in first.items():
            wide = array.astype(np.float64)
            if array.shape != second[name].shape:
                return f"the output {name!r} has another shape"
            scale = float(np.abs(wide).max(initial=0.0)) or 1.0
            widest = float(np.abs(wide - second[name]).max(initial=0.0)) / scale
            if not widest <= _SAME:
                return f"the output {name!r} differs by {widest:.2g} of its largest entry"
    return None

"""Convert a graph to the ORT format, and compare the result's outputs with the proven ones (worker side).

A program that loads the ORT format needs neither protobuf nor an optimizer, so ONNX Runtime can be built without them
("minimal build"), and with only the operators that the model uses.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import onnx_files
from edgehone.worker import canaries
from edgehone.worker.closeness import largest
from edgehone.worker.ort_file import sorted_kernel_types

MODEL = "model.ort"
OPERATORS = "required_operators.config"
TYPES = "required_operators_and_types.config"
# Read by the converter; its own default is "all".
_LEVEL = "ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL"


def convert(job: WorkerJob) -> dict[str, Any]:
    """Write MODEL, OPERATORS and TYPES into the folder args["output"].

    args: level (of graph optimization, "basic" or "extended": those above choose a memory layout for this processor),
    output. inputs: artifact, canaries. Returns bytes, and for the output that is furthest from its proven values
    `output`, `difference` and `limit` (`worker.closeness`). Raises ModelError if the converted graph cannot be opened.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it is read on import
    os.environ[_LEVEL] = job.args["level"]
    from onnxruntime.tools import convert_onnx_models_to_ort as converter

    source, out = onnx_files.find(job.inputs["artifact"]), Path(job.args["output"])
    work = job.out / "converted"
    converter.convert_onnx_models_to_ort(
        source, output_dir=work, optimization_styles=[converter.OptimizationStyle.Fixed]
    )
    (made,) = work.glob("*.ort")
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL).write_bytes(sorted_kernel_types(made.read_bytes()))
    for name, with_types in ((OPERATORS, False), (TYPES, True)):
        converter.create_config_from_models([out / MODEL], out / name, with_types)
        _without_comments(out / name)
    return {"bytes": (out / MODEL).stat().st_size, **_compared(out / MODEL, job)}


def _without_comments(path: Path) -> None:
    """Remove the comments, which contain the path of the folder that the converter worked in."""
    lines = path.read_text("utf-8").splitlines()
    path.write_text(
        "".join(f"{line}\n" for line in lines if line.strip() and not line.startswith("#")), "utf-8"
    )


def _compared(path: Path, job: WorkerJob) -> dict[str, Any]:
    from edgehone.backends.onnxruntime.session import OrtSession

    asked = canaries.read(job.inputs["canaries"])
    session = OrtSession(path, {}, job.threads)
    found = largest([answer for _, answer in asked], [session.run(question) for question, _ in asked])
    session.close()
    return {"output": found.output, "difference": found.value, "limit": found.limit}

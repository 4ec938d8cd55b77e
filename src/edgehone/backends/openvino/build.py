"""Build steps of language models in OpenVINO (worker side): `export` to an FP16 IR, `compress` to 8 or 4 bits."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from edgehone.backends.openvino import ir, mixed_precision, routers
from edgehone.backends.openvino.export import export_ir
from edgehone.backends.openvino.stateful import token_inputs
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.calibration import LENGTH, windows
from edgehone.core.errors import JobError

# Options of nncf.compress_weights that need calibration samples.
CALIBRATED_OPTIONS = ("awq", "scale_estimation", "gptq", "lora_correction")

_TOKENIZER_FILES = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")
# optimum-intel limits these architectures to older versions of transformers. Small models of each were exported with
# the pinned version and scored: their KL divergence from the original was below 5e-5. The parity check tests each
# model again.
_TESTED_BEYOND_LIMIT = ("exaone4", "gemma", "gemma2", "gemma3_text", "glm")


def export(job: WorkerJob) -> dict[str, Any]:
    """Write a stateful FP16 IR with its tokenizer and detokenizer (worker side).

    inputs: model. Returns the facts of `ir.facts`. Raises JobError if the tokenizer cannot be converted; exceptions
    of the exporter pass through.
    """
    _lift_version_limits()
    job.progress(0.1, "exporting to IR")
    export_ir(job.inputs["model"], job.out, "text-generation-with-past")
    missing = [name for name in _TOKENIZER_FILES if not (job.out / name).is_file()]
    if missing:
        raise JobError(
            f"openvino_tokenizers cannot convert this tokenizer: {' and '.join(missing)} not written",
            hint="try the other backends: --backends llamacpp",
        )
    ir.compact(job.out / ir.MODEL)
    return ir.facts(job.out)


def _lift_version_limits() -> None:
    import optimum.exporters.openvino  # noqa: F401 - registers OpenVINO's entries in the table below
    from optimum.exporters.tasks import TasksManager

    for name in _TESTED_BEYOND_LIMIT:
        config = TasksManager._SUPPORTED_MODEL_TYPE[name]["openvino"]["text-generation-with-past"]
        config.func.MAX_TRANSFORMERS_VERSION = None


def compress(job: WorkerJob) -> dict[str, Any]:
    """Compress the weights to 8 or 4 bits with nncf.compress_weights (worker side).

    args: mode, or mix (a type for each matrix, assigned from inputs["sensitivity"]); for 4 bits also group_size and
    ratio; router, to keep the routers of a mixture of experts in 16 bits; and the calibrated options awq,
    scale_estimation, gptq, lora_correction (the last two exclude each other). inputs: fp16, and calibration for the
    calibrated options.

    Returns `weight_types` (weight tensors by type, read back from the saved IR) and `bytes`; for a mixture of
    experts also `experts` (types of routers and experts separately); for a mix also `mix`: the assignment, and where
    the IR differs from it.
    """
    import nncf
    import openvino as ov

    source = job.inputs["fp16"]
    model = ov.Core().read_model(source / ir.MODEL)
    options: dict[str, Any] = {}
    if "mode" in job.args:
        options["mode"] = nncf.CompressWeightsMode(job.args["mode"])
    for name in ("group_size", "ratio", *CALIBRATED_OPTIONS):
        if name in job.args:
            options[name] = job.args[name]
    if "router" in job.args:
        options["ignored_scope"] = nncf.IgnoredScope(names=routers.router_nodes(model))
    if "calibration" in job.inputs:
        samples = calibration_samples(job, model, _context(source))
        options |= {"dataset": nncf.Dataset(samples), "subset_size": len(samples)}
    job.progress(0.2, "compressing weights")
    logging.getLogger("nncf").setLevel(logging.WARNING)
    assignment = mixed_precision.assigned_types(job, source) if "mix" in job.args else None
    compressed = (
        mixed_precision.compress(model, assignment, options)
        if assignment
        else nncf.compress_weights(model, **options)
    )
    job.progress(0.9, "saving")
    ir.save(compressed, job.out)
    for path in source.iterdir():
        if path.is_file() and path.stem != Path(ir.MODEL).stem:
            shutil.copyfile(path, job.out / path.name)
    return {**ir.facts(job.out), **(mixed_precision.facts(assignment, job.out) if assignment else {})}


def calibration_samples(job: WorkerJob, model: Any, context: int) -> list[dict[str, Any]]:
    """Return windows spread over the whole calibration text, as inputs of the stateful model."""
    import numpy as np

    return [
        token_inputs(np.array([ids], np.int64), 0, model.inputs)
        for ids in windows(job.inputs["calibration"], context)
    ]


def _context(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return int(config.get("max_position_embeddings") or LENGTH)

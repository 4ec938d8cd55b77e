"""Quantize weights and activations of a graph to 8 bits by NNCF's post-training quantization (worker side)."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.openvino import ir
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import JobError
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Sample = Mapping[str, NDArray[Any]]

# NNCF's own default, where a sample is one batch.
_MAX_BATCHES = 300
_MIN_SAMPLES = 8
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
_LAYERS = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
)
_RESHAPING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")
LABELS = "labels"


def quantize(job: WorkerJob) -> dict[str, Any]:
    """Quantize weights and activations to 8 bits (worker side).

    args: mode ("ptq" or "accuracy_control"), preset ("performance", "mixed"), bias ("fast", "accurate"), model_type
    ("transformer", "other"), and for accuracy_control max_drop. inputs: fp32, and calibration: a folder with
    samples.npz, which holds arrays by input name with samples first, and optionally `labels`, the class of each
    sample.

    Returns `weight_types`, `bytes`, `fake_quantize` (activation quantizers in the IR), `layers` (convolutions and
    matrix products) and `layers_int8` (those that take 8-bit activations). For accuracy_control it also returns
    `agreement` on the held-out samples, of the original and of the quantized graph. Raises JobError for missing
    inputs or too few samples.
    """
    import nncf
    import openvino as ov

    logging.getLogger("nncf").setLevel(logging.WARNING)
    model = ov.Core().read_model(job.inputs["fp32"] / ir.MODEL)
    samples, labels = _samples(job.inputs["calibration"], model)
    options: dict[str, Any] = {
        "preset": nncf.QuantizationPreset(job.args["preset"]),
        "fast_bias_correction": job.args["bias"] == "fast",
        "model_type": nncf.ModelType.TRANSFORMER if job.args["model_type"] == "transformer" else None,
    }
    job.progress(0.1, "quantizing")
    facts: dict[str, Any] = {}
    if job.args["mode"] == "ptq":
        samples = samples[:_MAX_BATCHES]
        quantized = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples), **options)
    else:
        max_drop = float(job.args["max_drop"])
        quantized, facts = _quantize_with_control(model, samples, labels, max_drop, options)
    job.progress(0.9, "saving")
    ir.save(quantized, job.out)
    shutil.copyfile(job.inputs["fp32"] / ir.PORTS, job.out / ir.PORTS)
    return ir.facts(job.out) | _operations(job.out) | facts


def _samples(folder: Path, model: Any) -> tuple[list[Sample], list[int] | None]:
    """Return the samples in batches of the graph's fixed size, and the labels.

    If the batch size is free, a batch is one sample. Labels are returned for batches of one sample only.
    """
    import numpy as np

    found = Batches.read(folder)
    stored = found.arrays | found.shared
    names = {
        port.get_any_name(): next((n for n in port.get_names() if n in stored), None) for port in model.inputs
    }
    if missing := [key for key, name in names.items() if name is None]:
        raise JobError(
            f"the samples have {', '.join(stored)}; the graph takes {', '.join(names)}, "
            f"of which {missing[0]} is missing"
        )
    types = {port.get_any_name(): port.get_element_type().to_dtype() for port in model.inputs}
    batch = _fixed_batch(model.inputs, names, found.axes) or 1
    batches: list[Sample] = [
        {key: np.asarray(feeds[str(name)], types[key]) for key, name in names.items()}
        for feeds in (found.around(at, batch) for at in range(0, found.count, batch))
    ]
    labels = None if found.labels is None else [int(i) for i in found.labels]
    if found.count < _MIN_SAMPLES:
        raise JobError(
            f"{found.count} calibration samples are too few for quantization: give at least {_MIN_SAMPLES}"
        )
    return batches, labels if batch == 1 else None


def _fixed_batch(ports: Sequence[Any], names: Mapping[str, str | None], axes: Axes) -> int | None:
    """Return the batch size that the graph's inputs fix, or None if it is free."""
    sizes = set()
    for port in ports:
        axis, shape = axes.of_input(str(names[port.get_any_name()])), port.get_partial_shape()
        if axis is not None and axis < len(shape) and shape[axis].is_static:
            sizes.add(shape[axis].get_length())
    return sizes.pop() if len(sizes) == 1 else None


def _quantize_with_control(
    model: Any, samples: Sequence[Sample], labels: list[int] | None, max_drop: float, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Quantize on one half of the samples and validate on the other; the layers that lose most return to floats."""
    import nncf
    import openvino as ov

    if len(samples) < 2:
        raise JobError(
            "the calibration samples are one batch of the graph: accuracy control needs at least two"
        )
    calibration = list(samples[::2])[:_MAX_BATCHES]
    held_out = list(enumerate(samples))[1::2][:_MAX_BATCHES]
    validate = _validator(ov.Core().compile_model(model, "CPU", _EXACT), held_out, labels)
    before, _ = validate(ov.Core().compile_model(model, "CPU", _EXACT), held_out)
    quantized = nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(calibration),
        nncf.Dataset(held_out, lambda pair: pair[1]),
        validate,
        max_drop=max_drop,
        subset_size=len(calibration),
        **options,
    )
    after, _ = validate(ov.Core().compile_model(quantized, "CPU"), held_out)
    return quantized, {
        "agreement": {"original": before, "built": after, "by": "labels" if labels else "outputs"}
    }


def _validator(
    original: Any, held_out: Sequence[tuple[int, Sample]], labels: list[int] | None
) -> Callable[[Any, Iterable[tuple[int, Sample]]], tuple[float, list[float]]]:
    """Return a function that computes the agreement, as the mean and for each sample.

    Agreement is 1 or 0 by the predicted class if there are labels, else the cosine similarity to the original's
    outputs.
    """
    expected = {} if labels else {i: list(original(sample).values()) for i, sample in held_out}

    def validate(compiled: Any, pairs: Iterable[tuple[int, Sample]]) -> tuple[float, list[float]]:
        values = []
        for i, sample in pairs:
            outputs = list(compiled(sample).values())
            values.append(
                float(outputs[0].reshape(-1).argmax() == labels[i])
                if labels
                else _cosine_similarity(outputs, expected[i])
            )
        return sum(values) / len(values), values

    return validate


def _cosine_similarity(outputs: Sequence[Any], expected: Sequence[Any]) -> float:
    """Return the mean cosine similarity over outputs; it is 1 where both vectors are 0."""
    import numpy as np

    cosines = []
    for output, wanted in zip(outputs, expected, strict=True):
        a, b = np.float64(output).ravel(), np.float64(wanted).ravel()
        length = np.linalg.norm(a) * np.linalg.norm(b)
        cosines.append(float(a @ b / length) if length else float(not a.any() and not b.any()))
    return sum(cosines) / len(cosines)


def _operations(folder: Path) -> dict[str, int]:
    """Count the operations that the saved IR computes in 8 bits."""
    import openvino as ov

    counted: Counter[str] = Counter(fake_quantize=0, layers=0, layers_int8=0)
    for node in ov.Core().read_model(folder / ir.MODEL).get_ops():
        kind = node.get_type_name()
        counted["fake_quantize"] += kind == "FakeQuantize"
        if kind in _LAYERS:
            counted["layers"] += 1
            counted["layers_int8"] += _activation_source(node) == "FakeQuantize"
    return dict(counted)


def _activation_source(node: Any) -> str:
    """Return the type of the operation that produces a layer's activations, skipping operations that only move data."""
    while (node := node.input_value(0).get_node()).get_type_name() in _RESHAPING:
        pass
    return str(node.get_type_name())

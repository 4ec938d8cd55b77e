"""8-bit weights and activations of a graph by NNCF's post-training quantization (worker side)."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.openvino import ir
from edgehone.backends.openvino.graph_session import fixed_batch, split
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import JobError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Sample = Mapping[str, NDArray[Any]]

# NNCF's own default is 300 samples; it takes each as one batch.
_SAMPLES = 300
_LEAST = 8
_LAYERS = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
)
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")
LABELS = "labels"


def quantize(job: WorkerJob) -> dict[str, Any]:
    """Weights and activations at 8 bits (worker side).

    args: mode ("ptq" or "accuracy_control"), preset ("performance", "mixed"), bias ("fast", "accurate"),
    model_type ("transformer", "other"), and for accuracy_control max_drop. inputs: fp32, and calibration (a
    folder with samples.npz: arrays by input name, samples first, and optionally `labels`, the class of each).
    Returns `weight_types`, `bytes`, `fake_quantize` (activations' quantizers left in the IR), `layers` (how many
    convolutions and matrix products there are) and `layers_int8` (how many of them take 8-bit activations); for
    accuracy_control also `agreement` on the held-out samples, of the original and of what was built.
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
        samples = samples[:_SAMPLES]
        quantized = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples), **options)
    else:
        quantized, facts = _controlled(model, samples, labels, float(job.args["max_drop"]), options)
    job.progress(0.9, "saving")
    ir.save(quantized, job.out)
    shutil.copyfile(job.inputs["fp32"] / ir.PORTS, job.out / ir.PORTS)
    return ir.facts(job.out) | _operations(job.out) | facts


def _samples(folder: Path, model: Any) -> tuple[list[Sample], list[int] | None]:
    """One batch of the graph's own size each (one sample where it is free), and the labels where each is one."""
    import numpy as np

    names = [(port.get_any_name(), port.get_names()) for port in model.inputs]
    with np.load(folder / "samples.npz", allow_pickle=False) as data:
        arrays = {key: next((data[n] for n in own if n in data), None) for key, own in names}
        labels = [int(i) for i in data[LABELS]] if LABELS in data else None
        found = ", ".join(data)
    lacking = [name for name, array in arrays.items() if array is None]
    if lacking:
        raise JobError(
            f"the samples have {found}, the graph takes {', '.join(arrays)}: {lacking[0]} is missing"
        )
    batch = fixed_batch(model.inputs) or 1
    types = {port.get_any_name(): port.get_element_type().to_dtype() for port in model.inputs}
    typed = {name: np.asarray(array, types[name]) for name, array in arrays.items()}
    made: list[Sample] = list(split(typed, batch))
    if len(made) < _LEAST:
        raise JobError(
            f"{len(made)} calibration samples are too few for quantization: give at least {_LEAST * batch}"
        )
    return made, labels if batch == 1 else None


def _controlled(
    model: Any, samples: Sequence[Sample], labels: list[int] | None, drop: float, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Quantized on one half of the samples, judged on the other: the layers that lose most get their floats back."""
    import nncf
    import openvino as ov

    calibration = list(samples[::2])[:_SAMPLES]
    held_out = list(enumerate(samples))[1::2][:_SAMPLES]
    judge = _judge(ov.Core().compile_model(model, "CPU", _EXACT), held_out, labels)
    before, _ = judge(ov.Core().compile_model(model, "CPU", _EXACT), held_out)
    made = nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(calibration),
        nncf.Dataset(held_out, lambda pair: pair[1]),
        judge,
        max_drop=drop,
        subset_size=len(calibration),
        **options,
    )
    after, _ = judge(ov.Core().compile_model(made, "CPU"), held_out)
    return made, {"agreement": {"original": before, "built": after, "by": "labels" if labels else "outputs"}}


_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def _judge(
    original: Any, held_out: Sequence[tuple[int, Sample]], labels: list[int] | None
) -> Callable[[Any, Iterable[tuple[int, Sample]]], tuple[float, list[float]]]:
    """The mean, and each sample's: right class where there are labels, else the cosine to the original's outputs."""
    expected = {} if labels else {i: list(original(sample).values()) for i, sample in held_out}

    def judge(compiled: Any, pairs: Iterable[tuple[int, Sample]]) -> tuple[float, list[float]]:
        values = []
        for i, sample in pairs:
            outputs = list(compiled(sample).values())
            values.append(
                float(outputs[0].reshape(-1).argmax() == labels[i])
                if labels
                else _cosine(outputs, expected[i])
            )
        return sum(values) / len(values), values

    return judge


def _cosine(made: Sequence[Any], expected: Sequence[Any]) -> float:
    """The mean over outputs of the cosine of two vectors; 1 where both are 0."""
    import numpy as np

    cosines = []
    for one, other in zip(made, expected, strict=True):
        a, b = np.float64(one).ravel(), np.float64(other).ravel()
        length = np.linalg.norm(a) * np.linalg.norm(b)
        cosines.append(float(a @ b / length) if length else float(not a.any() and not b.any()))
    return sum(cosines) / len(cosines)


def _operations(folder: Path) -> dict[str, int]:
    """What is computed at 8 bits, read back from the saved IR."""
    import openvino as ov

    counted: Counter[str] = Counter(fake_quantize=0, layers=0, layers_int8=0)
    for node in ov.Core().read_model(folder / ir.MODEL).get_ops():
        kind = node.get_type_name()
        counted["fake_quantize"] += kind == "FakeQuantize"
        if kind in _LAYERS:
            counted["layers"] += 1
            counted["layers_int8"] += _feeder(node) == "FakeQuantize"
    return dict(counted)


def _feeder(node: Any) -> str:
    """The kind of what a layer's activations come from, past what only moves them."""
    while (node := node.input_value(0).get_node()).get_type_name() in _MOVES:
        pass
    return str(node.get_type_name())

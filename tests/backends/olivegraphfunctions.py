"""Functions that the tests of the olive backend's graphs run in its environment."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

from edgehone.backends.base import Recipe, Step
from edgehone.backends.olive import graph as olive_graph
from edgehone.backends.olive import graph_build
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError, JobError


def build(job: WorkerJob) -> dict[str, Any]:
    """Build recipes in one process (importing Olive is slow) and run them on the samples.

    args: recipes (build and settings by name). inputs: model, samples, calibration. Writes each one's first output
    to outputs.npz. Returns, by recipe, its facts, its outputs' shapes, accuracy if the samples have labels, and the
    latency of one sample.
    """
    import numpy as np

    samples = dict(np.load(job.inputs["samples"]))
    labels = samples.pop("labels", None)
    make = _maker(job)
    results: dict[str, Any] = {}
    outputs_by_recipe: dict[str, Any] = {}
    for name, (recipe_build, settings) in job.args["recipes"].items():
        artifact, facts = make(
            json.dumps(_flat(olive_graph.graph_steps(Recipe("olive", name, recipe_build))))
        )
        session = olive_graph.open_graph(artifact, settings, job)
        outputs = session.run(samples)
        outputs_by_recipe[name] = next(iter(outputs.values()))
        results[name] = {
            "facts": facts,
            "files": sorted(path.name for path in artifact.iterdir()),
            "outputs": {key: list(array.shape) for key, array in outputs.items()},
            "accuracy": None
            if labels is None
            else float((outputs_by_recipe[name].argmax(1) == labels).mean()),
            "latency_us": 1e6 * _latency(session, {key: array[:1] for key, array in samples.items()}),
        }
    np.savez(job.out / "outputs.npz", **outputs_by_recipe)
    return results


def original(job: WorkerJob) -> dict[str, Any]:
    """Run the encoder with transformers in float32; write its output to original.npy and its inputs to samples.npz."""
    import numpy as np
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    folder = job.inputs["model"]
    kind = AutoModel if job.args["task"] == "feature-extraction" else AutoModelForSequenceClassification
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    texts = [
        "The state of the Union.",
        "Gold and silver, and the debt that is owed to the people of Spain",
        "War",
    ] * 4
    samples = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="np")
    with torch.inference_mode():
        output = model(**{name: torch.from_numpy(array) for name, array in samples.items()})[0]
    np.save(job.out / "original.npy", output.numpy())
    np.savez(job.out / "samples.npz", **samples)
    return {"inputs": list(samples), "shape": list(output.shape)}


def external_weights(job: WorkerJob) -> dict[str, Any]:
    """Run `prepare` on links to a graph with external weights, then again without the file of the weights."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    original_folder, links, out = (job.out / name for name in ("there", "links", "made"))
    for folder in (original_folder, links, out):
        folder.mkdir()
    onnx.save(
        model, original_folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    for path in original_folder.iterdir():
        (links / path.name).symlink_to(path)
    preparing = WorkerJob({"format": "onnx"}, {"model": links}, out, None, 1, job.progress)
    facts = graph_build.prepare(preparing)
    outputs = olive_graph.open_graph(out, {}, job).run({"x": np.ones((2, 3), np.float32)})["y"]
    (links / "m.data").unlink()
    error = _error(partial(graph_build.prepare, preparing))
    (links / "m.onnx").unlink()
    return {"facts": facts, "sum": float(outputs.sum()), "error": error}


def refusals(job: WorkerJob) -> dict[str, str]:
    """Return the errors for calibration samples that do not fit, and for passes that cannot run."""
    import numpy as np

    graph, errors = job.inputs["graph"], {"external weights": json.dumps(external_weights(job))}
    static = {"type": "OnnxStaticQuantization", "precision": "int8", "activation_type": "int8"}
    image = np.zeros((4, 1, 8, 8), np.float32)
    wrong = {
        "dtype": {"image": image.astype(np.float64)},
        "rank": {"image": image[0]},
        "name": {"picture": image},
        "none": {"image": image[:0]},
        "size": {"image": np.zeros((4, 1, 8, 9), np.float32)},
    }
    for name, arrays in wrong.items():
        folder = job.out / name
        folder.mkdir()
        np.savez(folder / "samples.npz", **arrays)
        errors[name] = _error(
            partial(_apply, job, static, {"graph": graph, "calibration": folder}, folder / "out")
        )
    errors["fixed batch"] = _error(partial(_fixed_batch, job, static))
    empty = job.out / "no file"
    empty.mkdir()
    errors["no file"] = _error(
        partial(_apply, job, static, {"graph": graph, "calibration": empty}, empty / "out")
    )
    passes: dict[str, dict[str, Any]] = {
        "nothing to fuse": {"type": "OrtTransformersOptimization", "model_type": "bert", "opt_level": 0},
        "unknown kind": {"type": "OrtTransformersOptimization", "model_type": "unheard_of"},
        "raises": {"type": "OnnxFloatToFloat16", "op_block_list": ["Conv"], "op_include_list": ["Conv"]},
    }
    for name, args in passes.items():
        errors[name] = _error(partial(_apply, job, args, {"graph": graph}, job.out / name))
    return errors


def _fixed_batch(job: WorkerJob, static: Mapping[str, Any]) -> None:
    """Quantize the digits' graph with its batch fixed to 4, and run it on 8 samples."""
    import numpy as np
    import onnx

    graph, calibration, out = (job.out / f"four {name}" for name in ("graph", "calibration", "out"))
    graph.mkdir()
    calibration.mkdir()
    model = onnx.load(job.inputs["graph"] / "digits.onnx")
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.shape.dim[0].dim_value = 4
    del model.graph.value_info[:]
    onnx.save(model, graph / "model.onnx")
    image = np.random.default_rng(0).random((10, 1, 8, 8), np.float32)
    np.savez(calibration / "samples.npz", image=image)
    _apply(job, static, {"graph": graph, "calibration": calibration}, out)
    assert olive_graph.open_graph(out, {}, job).run({"image": image[:8]})["logits"].shape == (8, 10)


def _maker(job: WorkerJob) -> Any:
    """Return a function that runs a step (as JSON) once."""
    numbers = count(1)

    @cache
    def make(text: str) -> tuple[Path, dict[str, Any]]:
        step = json.loads(text)
        inputs = {name: job.inputs[name] for name in step["reads"]}
        inputs |= {name: make(json.dumps(below))[0] for name, below in step["inputs"].items()}
        out = job.out / "steps" / f"{next(numbers)}-{step['call'].rpartition(':')[2]}"
        out.mkdir(parents=True)
        function = getattr(graph_build, step["call"].rpartition(":")[2])
        return out, function(WorkerJob(step["params"], inputs, out, None, job.threads, job.progress))

    return make


def _flat(step: Step) -> dict[str, Any]:
    inputs = {name: _flat(source) for name, source in step.inputs.items()}
    return {"call": step.call, "params": dict(step.params), "inputs": inputs, "reads": list(step.reads)}


def _latency(session: Any, feeds: Mapping[str, Any]) -> float:
    import numpy as np

    times = []
    for _ in range(300):
        started = time.perf_counter()
        session.run(feeds)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _apply(job: WorkerJob, args: Mapping[str, Any], inputs: Mapping[str, Path], out: Path) -> None:
    out.mkdir()
    facts = graph_build.apply(WorkerJob(args, inputs, out, None, 1, job.progress))
    if "nothing_to_gain" in facts:
        raise JobError(facts["nothing_to_gain"])


def _error(call: Any) -> str:
    try:
        call()
    except EdgehoneError as error:
        return f"{type(error).__name__}: {error} Try: {error.hint}"
    return "nothing"

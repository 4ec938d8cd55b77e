"""Functions that the tests of graphs run in the backends' real environments."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from edgehone.backends.onnxruntime import backend as onnxruntime
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError


def outputs(job: WorkerJob) -> dict[str, Any]:
    """All outputs of an artifact on samples, kept as outputs.npz; accuracy where there are labels; time a sample."""
    import numpy as np

    backend = importlib.import_module(job.args["backend"])
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    samples = dict(np.load(job.inputs["samples"]))
    labels = samples.pop("labels", None)
    made = session.run(samples)
    np.savez(job.out / "outputs.npz", **made)
    one = {name: array[:1] for name, array in samples.items()}
    times = []
    for _ in range(int(job.args.get("repeats", 20))):
        started = time.perf_counter()
        session.run(one)
        times.append(time.perf_counter() - started)
    session.close()
    first = next(iter(made.values()))
    return {
        "shapes": {name: list(array.shape) for name, array in made.items()},
        "dtypes": {name: str(array.dtype) for name, array in made.items()},
        "accuracy": None if labels is None else float((first.argmax(1) == labels).mean()),
        "latency_ms": float(np.median(times)) * 1000,
    }


def refusals(job: WorkerJob) -> dict[str, str]:
    """What is said to files and to inputs that are wrong, each in its own way."""
    import numpy as np

    said = {}
    place = Path(tempfile.mkdtemp(dir=job.out.parent))
    for name, spoil in _SPOILED.items():
        folder, out = place / name / "model", place / name / "out"
        folder.mkdir(parents=True)
        out.mkdir()
        spoil(folder)
        said[name] = _said(partial(_opened, folder, out, job))
    good = place / "good"
    good.mkdir()
    _save(_relu(13), good)
    session = onnxruntime.open_graph(good, {}, job)
    ones = np.ones((2, 3), np.float32)
    wrong = {
        "double": {"x": ones.astype(np.float64)},
        "rank": {"x": ones[0]},
        "size": {"x": np.ones((2, 4), np.float32)},
        "lacking": {},
        "strange": {"x": ones, "labels": ones},
    }
    for name, feeds in wrong.items():
        said[name] = _said(partial(session.run, feeds))
    return said


def fixed_batch(job: WorkerJob) -> dict[str, Any]:
    """A graph that takes two samples at a time, given six and then five."""
    import numpy as np

    _save(_relu(13, batch=2), job.out)
    session = onnxruntime.open_graph(job.out, {"execution_mode": "parallel", "spinning": False}, job)
    six = np.arange(-9, 9, dtype=np.float32).reshape(6, 3)
    made = session.run({"x": six})["y"]
    return {
        "equal": bool((made == np.maximum(six, 0)).all()),
        "five": _said(lambda: session.run({"x": six[:5]})),
    }


def external(job: WorkerJob) -> dict[str, Any]:
    """A graph with its weights in a file beside it, in a folder of its own."""
    import onnx

    _save(_matmul(), job.out, save_as_external_data=True, location="weights/m.data", size_threshold=0)
    return {
        "files": sorted(p.relative_to(job.out).as_posix() for p in job.out.rglob("*") if p.is_file()),
        "v": onnx.__version__,
    }


def _opened(source: Path, place: Path, job: WorkerJob) -> None:
    adopting = WorkerJob({}, {"model": source}, place, None, 1, job.progress)
    onnxruntime.link_original(adopting)
    onnxruntime.open_graph(place, {}, adopting)


def _said(call: Callable[[], Any]) -> str:
    try:
        call()
    except EdgehoneError as error:
        return f"{type(error).__name__}: {error} Try: {error.hint}"
    return "nothing"


def _graph(
    nodes: list[Any], opset: int, shape: list[Any], weights: Any = (), domains: tuple[str, ...] = ()
) -> Any:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], list(weights))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def _relu(opset: int, operator: str = "Relu", domain: str = "", batch: Any = "batch") -> Any:
    from onnx import helper

    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    return _graph([node], opset, [batch, 3], domains=(domain,) if domain else ())


def _matmul() -> Any:
    import numpy as np
    from onnx import helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    return _graph([helper.make_node("MatMul", ["x", "w"], ["y"])], 17, ["batch", 3], [weights])


def _save(model: Any, folder: Path, **more: Any) -> None:
    import onnx

    if location := more.get("location"):
        (folder / location).parent.mkdir(exist_ok=True)
    onnx.save(model, folder / "model.onnx", **more)


def _without_data(folder: Path) -> None:
    _save(_matmul(), folder, save_as_external_data=True, location="model.data", size_threshold=0)
    (folder / "model.data").unlink()


def _data_outside(folder: Path) -> None:
    import onnx

    _save(_matmul(), folder, save_as_external_data=True, location="model.data", size_threshold=0)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../model.data"
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _sequence(folder: Path) -> None:
    from onnx import TensorProto, helper

    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    model = _graph([node], 13, ["batch", 3])
    of = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    model.graph.output[0].CopyFrom(helper.make_value_info("y", of))
    _save(model, folder)


_SPOILED: dict[str, Callable[[Path], Any]] = {
    "operator": lambda folder: _save(_relu(13, "Frobnicate"), folder),
    "too new an operator": lambda folder: _save(_relu(13, "Mish"), folder),
    "custom operator": lambda folder: _save(_relu(13, "Frobnicate", "my.operators"), folder),
    "no kernel": lambda folder: _save(_relu(1), folder),
    "no data": _without_data,
    "data outside": _data_outside,
    "sequence": _sequence,
    "not ONNX": lambda folder: (folder / "model.onnx").write_bytes(b"GGUF" * 100),
    "empty": lambda folder: (folder / "model.onnx").write_bytes(b""),
    "nothing": lambda folder: None,
    "two": lambda folder: [(folder / name).write_bytes(b"") for name in ("a.onnx", "b.onnx")],
}

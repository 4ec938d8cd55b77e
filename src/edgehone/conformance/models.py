"""Models for the conformance checks: tiny ones that are built, and made-up ones that are only passed to functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from edgehone.backends.null import backend
from edgehone.conformance import tiny_gguf
from edgehone.inputs.texts import shipped
from edgehone.model.demo import demo_graph, demo_model
from edgehone.model.info import ModelInfo, Tensor
from edgehone.model.inspect import inspect


def tiny_models(folder: Path) -> Iterator[ModelInfo]:
    """Yield small language models, real ones first. Generated ones are written to `folder`."""
    yield inspect(demo_model())
    yield inspect(backend.make_model(folder / "null-model", shipped("calibration").read_text("utf-8")))
    yield inspect(tiny_gguf.write(folder / "tiny.gguf"))


def tiny_graphs(folder: Path) -> Iterator[ModelInfo]:
    """Yield small graphs, for backends with the capability `graph`."""
    yield inspect(demo_graph())


def made_up(model: ModelInfo) -> Mapping[str, ModelInfo]:
    """Return models of every kind that `supports` may get, by their special property. The files are `model`'s."""
    pixels = Tensor("pixels", "float32", ("batch", 3, 8, 8))
    return {
        "unchanged": model,
        "unknown format": replace(model, format="no-such", architecture="NoSuch", model_type="no-such"),
        "unknown architecture": replace(model, architecture="NoSuchForCausalLM", model_type="no-such"),
        "no architecture": replace(model, architecture="", model_type=""),
        "quantized": replace(model, quantized="gptq", dtypes={"I32": model.parameters}),
        "remote code": replace(model, remote_code=True),
        "mixture of experts": replace(
            model, architecture="MixtralForCausalLM", model_type="mixtral", experts=8, experts_per_token=2
        ),
        "multi-modal": replace(model, task="image-text-to-text"),
        "encoder": replace(
            model, architecture="BertModel", model_type="bert", task="feature-extraction", vocabulary=30_522
        ),
        "graph": replace(
            model,
            format="onnx",
            architecture="graph",
            model_type="onnx",
            task="graph",
            inputs=(pixels,),
            outputs=(Tensor("scores", "float32", ("batch", 10)),),
            opset=21,
            operators=("Conv", "Gemm", "com.example::Odd"),
        ),
        "rows without a divisor": replace(model, hidden_size=97, intermediate_size=211, head_dim=13),
        "no dtypes": replace(model, dtypes={}),
        "required fields only": ModelInfo(
            path=model.path,
            format=model.format,
            architecture=model.architecture,
            model_type=model.model_type,
            task=model.task,
            parameters=0,
            bytes=0,
            dtypes={},
            files=model.files,
        ),
    }

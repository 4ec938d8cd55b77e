"""Made-up models that several tests ask backends and plans about: facts without files."""

from __future__ import annotations

from pathlib import Path

from edgehone.backends.base import EFFORTS, Backend, Recipe
from edgehone.model.demo import demo_graph
from edgehone.model.info import ModelInfo, Tensor

# Rows of 256 and 768 fit every group that a recipe has.
LLAMA = ModelInfo(
    path=Path("model"),
    format="huggingface",
    architecture="LlamaForCausalLM",
    model_type="llama",
    task="text-generation",
    parameters=1_000_000,
    bytes=2_000_000,
    dtypes={"BF16": 1_000_000},
    files=("config.json",),
    hidden_size=256,
    intermediate_size=768,
    heads=4,
    head_dim=64,
    tied_embeddings=True,
    tokenizer="sentencepiece",
)

# The classifier that ships, as its headers tell it.
DIGITS = ModelInfo(
    path=demo_graph(),
    format="onnx",
    architecture="",
    model_type="",
    task="graph",
    parameters=64_432,
    bytes=260_000,
    dtypes={"F32": 64_432},
    files=("digits.onnx",),
    inputs=(Tensor("image", "float32", ("batch", 1, 8, 8)),),
    outputs=(Tensor("logits", "float32", ("batch", 10)),),
    opset=18,
    operators=("Conv", "Gemm", "MaxPool", "Relu", "Reshape"),
)


def recipes_up_to(backend: Backend, effort: str, model: ModelInfo = LLAMA) -> list[Recipe]:
    """Return the recipes of a backend that an effort tries."""
    least = EFFORTS.index(effort)
    return [recipe for recipe in backend.recipes(model) if EFFORTS.index(recipe.effort) <= least]


# A GGUF file in 16 bits.
GGUF = ModelInfo(
    path=Path("model.gguf"),
    format="gguf",
    architecture="llama",
    model_type="llama",
    task="text-generation",
    parameters=1_000_000,
    bytes=2_000_000,
    dtypes={"F16": 999_000, "F32": 1_000},
    files=("model.gguf",),
)

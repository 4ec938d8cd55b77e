"""Whether a graph is a transformer, for recipes that suit only those."""

from __future__ import annotations

from edgehone.model.info import ModelInfo

# Fused attention, whichever exporter wrote it.
_FUSED = ("Attention", "scaled_dot_product_attention")
_NORMS = ("LayerNorm", "layer_norm", "RMSNorm", "rms_norm")
# A layer normalization in parts: ONNX before opset 17.
_NORM_IN_PARTS = {"ReduceMean", "Sqrt"}


def is_transformer(model: ModelInfo) -> bool:
    """Return True for attention with layer normalization, as far as the model's headers tell.

    A matrix product and a softmax somewhere make no transformer: most classifiers end in both.
    """
    if model.format == "huggingface":
        return True
    names = set(model.operators)
    if any(mark in name for name in names for mark in _FUSED):
        return True
    normalized = any(mark in name for name in names for mark in _NORMS) or names >= _NORM_IN_PARTS
    if model.format == "torch-export":
        products = {"aten::matmul", "aten::bmm"} & names
        return normalized and bool(products) and bool({"aten::softmax", "aten::_softmax"} & names)
    return normalized and model.attention

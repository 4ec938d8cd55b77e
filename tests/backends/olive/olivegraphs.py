"""Encoders and transformers as the olive backend sees them."""

from __future__ import annotations

from dataclasses import replace

from edgehone.model.info import Tensor
from tests.models import DIGITS as GRAPH

BUILD = "edgehone.backends.olive.graph_build"
TRANSFORMER = replace(
    GRAPH, operators=("Add", "Erf", "LayerNormalization", "MatMul", "Softmax"), attention=True
)
TEXT = tuple(
    Tensor(name, "int64", ("batch", "sequence")) for name in ("input_ids", "token_type_ids", "attention_mask")
)
ENCODER = replace(
    GRAPH,
    format="huggingface",
    architecture="BertModel",
    model_type="bert",
    task="feature-extraction",
    inputs=TEXT,
    outputs=(Tensor("last_hidden_state", "float32", ("batch", "sequence", 64)),),
    opset=None,
    operators=(),
)

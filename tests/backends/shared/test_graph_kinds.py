"""Transformers are told from other graphs that have a softmax."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgehone.backends.shared.graph_kinds import is_transformer
from edgehone.formats.onnx_attention import Node, has_attention
from tests.models import DIGITS


@pytest.mark.parametrize(
    ("operators", "attention", "expected"),
    [
        (("Conv", "Relu"), False, False),
        (("Conv", "Gemm", "Softmax"), False, False),
        # A classifier, or a recurrent model with a head: a product and a softmax, but no attention.
        (("GRU", "MatMul", "Softmax"), False, False),
        # Normalization without attention (ConvNeXt), attention without normalization (an alignment).
        (("LayerNormalization", "MatMul"), False, False),
        (("MatMul", "Softmax"), True, False),
        (("LayerNormalization", "MatMul", "Softmax"), True, True),
        (("MatMul", "Pow", "ReduceMean", "Softmax", "Sqrt"), True, True),
        (("com.microsoft::Attention",), False, True),
        (("com.microsoft::MultiHeadAttention",), False, True),
        (("aten::scaled_dot_product_attention",), False, True),
    ],
)
def test_transformers_are_recognized(operators: tuple[str, ...], attention: bool, expected: bool) -> None:
    assert is_transformer(replace(DIGITS, operators=operators, attention=attention)) is expected


@pytest.mark.parametrize(("softmax", "expected"), [("aten::softmax", True), ("aten::relu", False)])
def test_exported_programs_have_no_edges_but_operators(softmax: str, expected: bool) -> None:
    program = replace(DIGITS, format="torch-export", operators=("aten::layer_norm", "aten::matmul", softmax))
    assert is_transformer(program) is expected


ATTENTION: list[Node] = [
    ("MatMul", ["q", "k"], ["scores"]),
    ("Div", ["scores", "root"], ["scaled"]),
    ("Add", ["scaled", "mask"], ["masked"]),
    ("Softmax", ["masked"], ["weights"]),
    ("Cast", ["weights"], ["cast"]),
    ("MatMul", ["cast", "v"], ["out"]),
]


def test_attention_is_a_softmax_between_two_matrix_products() -> None:
    assert has_attention(ATTENTION)
    assert has_attention(ATTENTION[::-1])
    assert not has_attention(ATTENTION[:-1])  # a classifier ends in its softmax
    assert not has_attention(ATTENTION[1:])
    other = [("Conv", *node[1:]) if node[0] == "Add" else node for node in ATTENTION]
    assert not has_attention(other)


def test_cycles_and_long_paths_end() -> None:
    cycle: list[Node] = [("Add", ["a", "b"], ["b"]), ("Softmax", ["b"], ["c"]), ("MatMul", ["c", "w"], ["y"])]
    assert not has_attention(cycle)
    path: list[Node] = [("Add", [f"x{at}"], [f"x{at + 1}"]) for at in range(50)]
    assert not has_attention([("MatMul", ["a", "b"], ["x0"]), *path, ("Softmax", ["x50"], ["c"]), cycle[-1]])

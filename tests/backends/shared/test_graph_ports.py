"""Inputs and outputs that cannot be fed or compared are refused by every backend of graphs, with their name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgehone.backends import registry
from edgehone.backends.shared import graph_ports
from edgehone.model.info import Tensor
from tests.models import DIGITS


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("a sequence", "is a sequence, not a tensor"),
        ("an optional", "is an optional, not a tensor"),
        ("a map", "is a map, not a tensor"),
        ("opaque", "is opaque, not a tensor"),
        ("bfloat16", "is bfloat16: export the model with float32"),
        ("float8_e4m3fn", "is float8_e4m3fn"),
        ("complex64", "is complex64"),
        ("str", "is text"),
        ("unknown", "is unknown"),
    ],
)
def test_what_is_no_tensor_of_numbers_is_refused(dtype: str, said: str) -> None:
    strange = replace(DIGITS, inputs=(Tensor("odd", dtype, ()),))
    assert graph_ports.refusals(strange) == [
        reason for reason in graph_ports.refusals(strange) if said in reason
    ]
    for name in ("onnxruntime", "olive", "openvino"):
        support = registry.load(name).supports(strange)
        assert not support.ok and f"the input 'odd' {said}" in "; ".join(support.reasons)
    program = replace(strange, format="torch-export", opset=None)
    assert "the input 'odd'" in "; ".join(registry.load("pytorch").supports(program).reasons)
    output = replace(DIGITS, outputs=(Tensor("odd", dtype, ()),))
    assert "the output 'odd'" in "; ".join(registry.load("onnxruntime").supports(output).reasons)


def test_numbers_are_not_refused() -> None:
    assert graph_ports.refusals(DIGITS) == []

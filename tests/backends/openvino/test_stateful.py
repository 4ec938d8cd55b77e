"""Inputs of stateful language models: positions, mask, and only the inputs that the model has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from edgehone.backends.openvino.stateful import token_inputs


def ports(*names: str) -> list[Any]:
    return [SimpleNamespace(get_any_name=lambda name=name: name) for name in names]


def test_the_mask_covers_earlier_tokens_and_positions_continue() -> None:
    inputs = token_inputs(
        np.array([[7, 8]]), 3, ports("input_ids", "attention_mask", "position_ids", "beam_idx")
    )
    assert inputs["input_ids"].tolist() == [[7, 8]]
    assert inputs["attention_mask"].tolist() == [[1] * 5]
    assert inputs["position_ids"].tolist() == [[3, 4]]
    assert inputs["beam_idx"].tolist() == [0]


def test_inputs_that_the_model_does_not_have_are_left_out() -> None:
    assert token_inputs(np.array([[7]]), 0, ports("input_ids")).keys() == {"input_ids"}


def test_embeddings_are_passed_under_their_own_name() -> None:
    inputs = token_inputs(np.zeros((1, 4, 16), np.float32), 0, ports("inputs_embeds", "attention_mask"))
    assert inputs["inputs_embeds"].shape == (1, 4, 16) and inputs["attention_mask"].shape == (1, 4)

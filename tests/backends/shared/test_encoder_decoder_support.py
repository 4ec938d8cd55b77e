"""Encoder-decoders that OpenVINO and Olive refuse alike, before anything is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends import registry
from edgehone.model.encoder_decoder import TEXT
from edgehone.model.inspect import inspect


@pytest.mark.parametrize("name", ["openvino", "olive"])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quantized": "gptq"}, "already quantized (gptq): give the unquantized original"),
        ({"remote_code": True}, "needs custom code"),
        ({"model_type": "bart"}, "only whisper and t5 were verified, not 'bart'"),
    ],
)
def test_one_that_cannot_be_exported_is_refused_with_the_reason(
    name: str, changed: dict[str, Any], said: str, demo_model: Path
) -> None:
    plain = replace(inspect(demo_model), task=TEXT, model_type="t5")
    backend = registry.load(name)
    assert backend.supports(plain).ok
    support = backend.supports(replace(plain, **changed))
    assert not support.ok and len(support.reasons) == 1 and said in support.reasons[0]

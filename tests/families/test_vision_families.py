"""Families of vision-language models: each passes the parity check on pictures, or is refused with a stated reason.

The models are tiny and random (examples/make_tiny_vision_families.py); conversion, scoring and judging are real.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends import registry
from edgehone.evaluation import vision
from edgehone.model.inspect import inspect
from edgehone.optimize.evaluate import vision as evaluate_vision
from tests import parityrun
from tests.transform.adapters.adapters import TOKENIZER, save

# What each backend does with a family: passes, or the words of its reason.
_NO_MLX, _NO_OLIVE = "only text generation", "only text generation"
_OLD = "exports '{}' with transformers up to {} only"
EXPECTED: Mapping[tuple[str, str], str | None] = {
    ("llamacpp", "gemma3"): None,
    ("llamacpp", "idefics3"): None,
    ("llamacpp", "qwen2_5_vl"): None,
    ("llamacpp", "qwen2_vl"): None,
    ("llamacpp", "smolvlm"): None,
    ("openvino", "gemma3"): None,
    ("openvino", "idefics3"): _OLD.format("idefics3", "4.57.6"),
    ("openvino", "qwen2_5_vl"): _OLD.format("qwen2_5_vl", "5.0"),
    ("openvino", "qwen2_vl"): _OLD.format("qwen2_vl", "5.0"),
    ("openvino", "smolvlm"): _OLD.format("smolvlm", "4.57.6"),
}
FAMILIES = sorted({family for _, family in EXPECTED})
PROVEN = [one for one, words in EXPECTED.items() if words is None]


@pytest.mark.real
@pytest.mark.long
@pytest.mark.parametrize(("name", "family"), PROVEN)
def test_a_family_passes_the_parity_check_on_pictures(
    name: str, family: str, make_example: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_example("make_tiny_vision_families.py", family, "--family", family)
    ctx, origin = parityrun.prepare(model, tmp_path / "digests")
    assert origin.facts["picture_reference"].facts["matters"] > 100 * vision.LEAST_MATTERS
    trial = parityrun.judge(ctx, origin, name)
    assert trial.alive, f"{trial.error} (log: {trial.log})"
    assert "with pictures it diverges by" in parityrun.conversion(trial).reason
    evaluate_vision.time_first(ctx, origin, trial)
    assert (trial.figures[vision.FIRST].value or 0) > 0


# What published checkpoints state, as far as a backend looks at it.
STATED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gemma3": ("Gemma3ForConditionalGeneration", {}),
    "idefics3": ("Idefics3ForConditionalGeneration", {}),
    "phi3_v": ("Phi3VForCausalLM", {"auto_map": {"AutoModelForCausalLM": "modeling_phi3_v.Phi3VForCausalLM"}}),
    "phi4_multimodal": ("Phi4MultimodalForCausalLM", {}),
    "phi4mm": ("Phi4MMForCausalLM", {"auto_map": {"AutoModelForCausalLM": "modeling_phi4mm.Phi4MMForCausalLM"}}),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", {}),
    "qwen2_vl": ("Qwen2VLForConditionalGeneration", {}),
    "smolvlm": ("SmolVLMForConditionalGeneration", {}),
}  # fmt: skip
_REMOTE = {
    "llamacpp": "own code",
    "openvino": "custom code",
    "mlx": "code",
    "olive": "code",
    "pytorch": "remote code",
}
_PHI4 = {
    "llamacpp": "only gemma3, idefics3, llava", "openvino": _OLD.format("phi4_multimodal", "4.53.3"), "mlx": _NO_MLX,
    "olive": _NO_OLIVE, "pytorch": "needs torchvision",
}  # fmt: skip


def _folder(folder: Path, family: str) -> Path:
    """A checkpoint of a family as far as its headers tell."""
    architecture, more = STATED[family]
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = {
        "architectures": [architecture], "model_type": family, "vocab_size": 16, **sizes, **more,
        "vision_config": {"hidden_size": 8, "num_hidden_layers": 1},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "X"}')
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    save(folder / "model.safetensors", {"lm_head.weight": ("F16", np.zeros((16, 32)))})
    return folder


@pytest.mark.parametrize("family", sorted(STATED))
def test_a_family_is_recognized_and_every_refusal_has_its_reason(family: str, tmp_path: Path) -> None:
    model = inspect(_folder(tmp_path, family))
    remote = bool(STATED[family][1])
    assert remote or model.task == "image-text-to-text"
    for name in ("llamacpp", "mlx", "olive", "openvino", "pytorch"):
        said = _said(name, family, remote)
        support = registry.load(name).supports(model)
        assert support.ok == (said is None), (name, support)
        assert said is None or any(said in reason for reason in support.reasons), (name, support)


def _said(name: str, family: str, remote: bool) -> str | None:
    """The words of a backend's reason, None if it takes the family."""
    if remote:
        return _REMOTE[name]
    if family == "phi4_multimodal":
        return _PHI4[name]
    if name == "pytorch":
        return None
    return EXPECTED.get((name, family), _NO_MLX)


def test_one_without_an_image_processor_is_told_what_is_missing(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "qwen2_vl")
    (folder / "preprocessor_config.json").unlink()
    support = registry.load("pytorch").supports(inspect(folder))
    assert not support.ok and any("copy preprocessor_config.json" in reason for reason in support.reasons)

"""LoRA adapters are merged exactly, and refused where they do not fit."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import ModelError
from edgehone.model.inspect import inspect
from edgehone.transform.adapters import arrays, config, merge
from tests.transform.adapters.adapters import DOWN, Q, base, load, lora, save, values


def merged(model: Path, adapter: Path, out: Path) -> dict[str, Any]:
    merge.merge(config.read(adapter), inspect(model), out)
    return load(out)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shards", [False, True])
def test_the_changed_tensors_are_the_nearest_to_the_exact_sum(
    tmp_path: Path, dtype: str, shards: bool
) -> None:
    model = base(tmp_path / "base", dtype, shards=shards)
    adapter = lora(tmp_path / "lora", {Q: (8, 8), DOWN: (8, 16)})
    got, was, low = merged(model, adapter, tmp_path / "out"), load(model), load(adapter)
    for module in (Q, DOWN):
        a, b = (low[f"base_model.model.{module}.lora_{part}.weight"] for part in "AB")
        exact = was[f"{module}.weight"] + 8 / 2 * (b @ a)
        nearest = arrays.decoded(arrays.encoded(exact, dtype), dtype, exact.shape)
        assert (got[f"{module}.weight"] == nearest).all()
        assert np.abs(got[f"{module}.weight"] - exact).max() < {"F32": 1e-6, "F16": 0.02, "BF16": 0.1}[dtype]
    changed = {name for name in was if (got[name] != was[name]).any()}
    assert changed == {f"{Q}.weight", f"{DOWN}.weight"}
    assert inspect(tmp_path / "out").dtypes == inspect(model).dtypes
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["_name_or_path"] == "base"


def test_what_rounding_loses_is_told(tmp_path: Path) -> None:
    adapter = lora(tmp_path / "lora", {Q: (8, 8)}, lora_alpha=0.01)
    lost = {}
    for dtype in ("F32", "BF16"):
        made = merge.merge(
            config.read(adapter), inspect(base(tmp_path / dtype, dtype)), tmp_path / f"out{dtype}"
        )
        lost[dtype] = made.lost
        assert made.tensors == 1 and "merged into 1 tensors" in made.note(adapter)
    assert lost["F32"] < 1e-4 and 0.01 < lost["BF16"] < 1


@pytest.mark.parametrize(
    ("stated", "scale"),
    [
        ({}, 8 / 2),
        ({"use_rslora": True}, 8 / math.sqrt(2)),
        ({"alpha_pattern": {"q_proj": 3}}, 3 / 2),
        ({"alpha_pattern": {"layers.0.self_attn.q_proj": 5}}, 5 / 2),
        ({"alpha_pattern": {"v_proj": 3}}, 8 / 2),
        ({"r": 64, "rank_pattern": {"q_proj": 2}}, 8 / 2),
    ],
)
def test_the_scale_is_pefts(tmp_path: Path, stated: dict[str, Any], scale: float) -> None:
    adapter = lora(tmp_path / "lora", {Q: (8, 8)}, **stated)
    assert config.read(adapter).scale(Q) == pytest.approx(scale)
    got, low = merged(base(tmp_path / "base"), adapter, tmp_path / "out"), load(adapter)
    change = low[f"base_model.model.{Q}.lora_B.weight"] @ low[f"base_model.model.{Q}.lora_A.weight"]
    assert np.allclose(got[f"{Q}.weight"], load(tmp_path / "base")[f"{Q}.weight"] + scale * change, atol=1e-5)


def test_transposed_weights_embeddings_and_replaced_tensors(tmp_path: Path) -> None:
    model = base(tmp_path / "base")
    adapter = lora(tmp_path / "lora", {DOWN: (16, 8)}, fan_in_fan_out=True)
    got, low, was = merged(model, adapter, tmp_path / "one"), load(adapter), load(model)
    change = low[f"base_model.model.{DOWN}.lora_B.weight"] @ low[f"base_model.model.{DOWN}.lora_A.weight"]
    assert np.allclose(got[f"{DOWN}.weight"], was[f"{DOWN}.weight"] + 4 * change.T, atol=1e-5)

    head = values((32, 8), 7)
    save(adapter / "adapter_model.safetensors", {
        "base_model.model.model.embed_tokens.lora_embedding_A": ("F32", values((2, 32), 1)),
        "base_model.model.model.embed_tokens.lora_embedding_B": ("F32", values((8, 2), 2)),
        "base_model.model.lm_head.weight": ("F32", head),
    })  # fmt: skip
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    got = merged(model, adapter, tmp_path / "two")
    table = was["model.embed_tokens.weight"] + (values((8, 2), 2) @ values((2, 32), 1)).T
    assert np.allclose(got["model.embed_tokens.weight"], table, atol=1e-5)
    assert np.allclose(got["lm_head.weight"], head, atol=1e-6)


def refused(call: Callable[[], Any], *said: str) -> None:
    with pytest.raises(ModelError) as caught:
        call()
    text = f"{caught.value.message} | {caught.value.hint}"
    assert caught.value.exit_code == 2 and caught.value.hint and all(part in text for part in said), text


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({Q: (8, 12)}, f"{Q}.weight has the shape [8, 8] there, and [8, 12] in the adapter"),
        ({Q.replace(".0.", ".7."): (8, 8)}, "it changes model.layers.7.self_attn.q_proj.weight"),
        ({"model.layers.0.attn.qkv": (8, 8)}, "which that model does not have"),
    ],
)
def test_an_adapter_for_another_base_is_refused_by_name(
    tmp_path: Path, modules: dict[str, tuple[int, int]], said: str
) -> None:
    model, adapter = base(tmp_path / "base"), lora(tmp_path / "lora", modules)
    refused(
        lambda: merge.check(config.read(adapter), inspect(model)),
        "is an adapter for acme/tiny, not for",
        said,
    )


def test_another_name_on_the_hub_is_refused(tmp_path: Path) -> None:
    cache = tmp_path / "models--acme--other" / "snapshots" / ("a" * 8)
    model, adapter = base(cache), lora(tmp_path / "lora", {Q: (8, 8)})
    refused(lambda: merge.check(config.read(adapter), inspect(model)), "for acme/tiny", "is acme/other")
    lora(tmp_path / "lora", {Q: (8, 8)}, base_model_name_or_path="ACME/Other")
    assert merge.check(config.read(adapter), inspect(model)).changes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "is a IA3 adapter"),
        ({"peft_type": None}, "is a None adapter"),
        ({"peft_type": None, "fine_tune_type": "lora"}, "mlx_lm.fuse"),
        ({"use_dora": True}, "DoRA"),
        ({"layer_replication": [[0, 1]]}, "replicated layers"),
        ({"r": 0}, "r is 0"),
        ({"r": "x"}, "r is 'x'"),
        ({"lora_alpha": "x"}, "lora_alpha is 'x'"),
        ({"rank_pattern": 3}, "rank_pattern is 3"),
        ({"alpha_pattern": {"(": 3}}, "invalid pattern '('"),
        ({"r": 3}, "do not fit the rank 3"),
    ],
)
def test_other_adapters_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    model, adapter = base(tmp_path / "base"), lora(tmp_path / "lora", {Q: (8, 8)})
    stated = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**stated, **change}))
    refused(lambda: merge.check(config.read(adapter), inspect(model)), said)


def test_incomplete_adapters_are_refused(tmp_path: Path) -> None:
    model, adapter = base(tmp_path / "base"), lora(tmp_path / "lora", {Q: (8, 8)})
    weights = adapter / "adapter_model.safetensors"

    def check() -> None:
        merge.check(config.read(adapter), inspect(model))

    refused(lambda: config.read(tmp_path / "none"), "no such adapter")
    refused(lambda: config.read(model), "is not an adapter")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-3])
    refused(check, "truncated")
    save(weights, {f"base_model.model.{Q}.lora_A.weight": ("F32", values((2, 8), 1))})
    refused(check, "has A of the matrices A and B")
    save(weights, {f"base_model.model.{Q}.lora_magnitude_vector": ("F32", values((8,), 1))})
    refused(check, "no part of a plain LoRA")
    save(weights, {})
    refused(check, "holds no tensor")
    weights.unlink()
    refused(check, "is missing")
    (adapter / "adapter_model.bin").write_bytes(b"pickle")
    refused(check, "pickle")
    refused(lambda: inspect(adapter), "no config.json")


def test_a_base_that_cannot_take_an_adapter_is_refused(tmp_path: Path) -> None:
    adapter = lora(tmp_path / "lora", {Q: (8, 8)})
    quantized = base(tmp_path / "q", quantization_config={"quant_method": "gptq"})
    refused(lambda: merge.check(config.read(adapter), inspect(quantized)), "quantized already (gptq)")
    tied = base(tmp_path / "tied", tie_word_embeddings=True)
    both = lora(tmp_path / "both", {"model.embed_tokens": (32, 8)})
    refused(lambda: merge.check(config.read(both), inspect(tied)), "both the embedding and the head")


def test_an_adapter_in_the_place_of_a_model_hints_at_its_base(tmp_path: Path) -> None:
    adapter = lora(tmp_path / "lora", {Q: (8, 8)})
    shutil.copy(base(tmp_path / "base") / "config.json", adapter)
    refused(lambda: inspect(adapter), "holds an adapter", "--adapter")


@given(st.floats(allow_nan=False, allow_infinity=False, width=64), st.sampled_from(["F32", "F16", "BF16"]))
def test_numbers_are_rounded_once_to_the_nearest(value: float, dtype: str) -> None:
    got = float(arrays.decoded(arrays.encoded(np.array([value]), dtype), dtype, (1,))[0])
    if math.isinf(got):
        assert abs(value) > {"F32": 3.4e38, "BF16": 3.38e38, "F16": 65504}[dtype]
        return
    step = np.array([got])
    raw = np.frombuffer(arrays.encoded(step, dtype), {"F32": "<u4"}.get(dtype, "<u2"))
    for other in (raw + 1, raw - 1):
        near = float(arrays.decoded(other.astype(raw.dtype).tobytes(), dtype, (1,))[0])
        if math.isfinite(near):
            assert abs(Fraction(got) - Fraction(value)) <= abs(Fraction(near) - Fraction(value))

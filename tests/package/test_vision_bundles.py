"""Families of vision-language models from end to end: a quantized candidate is chosen, run, served and packaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

import edgehone
from edgehone.backends import registry as backends
from edgehone.inference.run_bundle import generate
from edgehone.package import registry
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, pack
from tests.recipes import only
from tests.serve.pictures import COLOURS, QUESTION, TOML, shown, url
from tests.serve.server import running

# The original, which is as fast as it is, is not to be chosen, though it is the smallest.
GATES = ("speedup=1.05", "memory_cut=off", "accuracy_kept=off", "latency_cv=off")
# A backend's family, its unquantized recipe, and a quantized one.
CASES = {"llamacpp": ("qwen2_5_vl", "F16", "Q4_0"), "openvino": ("gemma3", "fp16", "int8")}


@pytest.mark.real
@pytest.mark.long
@pytest.mark.xdist_group("measures")
@pytest.mark.parametrize("name", sorted(CASES))
def test_a_quantized_candidate_is_chosen_and_gives_the_proven_answers(
    name: str,
    make_example: Callable[..., Path],
    real_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The weights are random, so no gate on accuracy is set: the smallest candidate wins."""
    family, exact, coarse = CASES[name]
    monkeypatch.setenv("EDGEHONE_HOME", str(real_home))
    only(monkeypatch, backends.load(name), exact, coarse)
    (tmp_path / "tiny.toml").write_text(TOML)
    out = tmp_path / "bundle"
    decision = edgehone.optimize(
        make_example("make_tiny_vision_families.py", family, "--family", family),
        workload="tiny", effort="quick", backends=[name], gates=GATES, minimize=("size",), out=out,
        config_file=tmp_path / "tiny.toml",
    )  # fmt: skip
    [proven] = decision.conversions
    assert proven.passed and "with pictures it diverges by" in proven.reason
    by_key = {one.key: one for one in decision.candidates}
    losses = [by_key[f"{name}/{one}"].figure("vision_kl_mean").value or 0 for one in (exact, coarse)]
    assert losses[0] < 1e-4 < losses[1] < 0.5
    assert decision.chosen == f"{name}/{coarse}"

    (tmp_path / "colours.png").write_bytes(COLOURS)
    ran = generate(edgehone.read(out), QUESTION, 12, picture=tmp_path / "colours.png", quiet=True)
    assert ran["tokens"] == 12
    with running(out) as server:
        assert "tokens of the canaries are equal" in server.client.get("/readyz").json()["proofs"]["bundle"]
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        asked: Any = {"model": "bundle", "messages": shown(url(COLOURS)), "max_tokens": 12}
        answer = client.chat.completions.create(**asked)
        assert answer.choices[0].message.content == ran["text"]
    _packages_carry_it_or_refuse_it(out, tmp_path / "desktop")


def _packages_carry_it_or_refuse_it(bundle: Path, folder: Path) -> None:
    """A folder for desktop programs has every file of the artifact, or none of its programs loads pictures."""
    opened = edgehone.read(bundle)
    refused = {name: registry.load(name).refuses(opened) for name in registry.names()}
    assert refused["container"] is None
    for name in ("ios", "onnxruntime", "triton", "embedded"):
        assert refused[name], name
    if refused["desktop"] is not None:
        assert opened.manifest.recipe["backend"] in refused["desktop"]
        return
    pack(bundle, Order(registry.load("desktop"), folder, {}))
    verify_package(folder)
    carried = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"mmproj.gguf"} <= carried or {path.name for path in opened.artifact.iterdir()} <= carried

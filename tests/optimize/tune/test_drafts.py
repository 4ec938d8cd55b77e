"""Speculative settings are searched: chosen where they win, never where they lose (the null backend drafts, too)."""

from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.backends.base import TunableSetting
from edgehone.backends.null import backend
from edgehone.backends.sessions import Generation
from edgehone.report.explain import explanation
from edgehone.worker.same_tokens import tokens_per_pass


def search(
    model: Path, config: Path, monkeypatch: pytest.MonkeyPatch, *, verify: float = 0.1, **more: Any
) -> edgehone.Decision:
    """Run on f32 and q8, with lookups of 3 and 8 tokens as only settings; a drafted token takes `verify` steps."""
    every = backend.recipes
    settings = {"verify": verify}
    monkeypatch.setattr(
        backend,
        "recipes",
        lambda model: [
            replace(one, settings={**one.settings, **settings})
            for one in every(model)
            if one.name in ("f32", "q8")
        ],
    )
    monkeypatch.setattr(
        backend, "tunable_settings", lambda *_: [TunableSetting("prompt_lookup", (3, 8), default=0)]
    )
    asked: dict[str, Any] = {"workload": "tiny", "effort": "quick", "backends": ["null"], "time": 600}
    return edgehone.optimize(model, config_file=config, **asked, **more)


def test_drafts_from_a_text_that_repeats_itself_win(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy texts of a bigram model run in circles."""
    found = search(null_model, config, monkeypatch)
    assert found.chosen == "null/q8+tuned"
    tuned, plain = found.candidate("null/q8+tuned"), found.candidate("null/q8")
    assert tuned.recipe["settings"]["prompt_lookup"] in (3, 8)
    assert tuned.facts["same_tokens"] == 256 and tuned.facts["tokens_per_pass"] > 1.5
    quick, slow = (one.figure("workload_latency_ms").value for one in (tuned, plain))
    assert quick and slow and quick < 0.9 * slow
    assert tuned.figure("kl_mean").value == plain.figure("kl_mean").value
    [confirmed] = [one for one in tuned.facts["tuning"] if one.get("confirmed")]
    assert confirmed["low"] > 0 and confirmed["tokens_per_pass"] == tuned.facts["tokens_per_pass"]
    assert "tokens a pass" in explanation(found)


def test_drafts_that_take_longer_than_they_save_lose(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same texts, where verifying a token takes as long as two steps: a device that computes slowly."""
    found = search(null_model, config, monkeypatch, verify=2.0)
    assert found.chosen == "null/q8"
    tried = found.candidate("null/q8").facts["tuning"]
    assert {one["settings"]["prompt_lookup"] for one in tried} == {3, 8}
    for one in tried:
        assert one["ahead"] < 0 and one["tokens_per_pass"] > 1.5
        assert "no gain" in one["reason"]


def test_drafts_that_are_never_kept_are_not_measured(
    own_home: Path, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model writes the letters in order. The text has them backwards, but for a pair that no answer has."""
    letters = "".join(map(chr, range(33, 127)))
    model = backend.make_model(tmp_path / "ordered", letters * 50)
    (tmp_path / "backwards.txt").write_text((letters[::-1] + '!"\n') * 120)
    (tmp_path / "odd.txt").write_text((string.ascii_lowercase[::2] + "\n") * 1500)
    texts: dict[str, Any] = {"evaluation": tmp_path / "backwards.txt", "calibration": tmp_path / "odd.txt"}
    found = search(model, config, monkeypatch, gates=("gain=off", "loss=off", "accuracy_kept=off"), **texts)
    assert found.chosen == "null/q8"
    for one in found.candidate("null/q8").facts["tuning"]:
        assert one["status"] == "skipped" and one["latency_ms"] is None and one["tokens_per_pass"] == 1.0
        assert "a pass over the weights gives 1.00 tokens" in one["reason"]


def test_tokens_of_one_pass_have_the_same_time() -> None:
    one = Generation(0.0, [1] * 7, [1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0])
    assert tokens_per_pass([one]) == 2.0
    assert tokens_per_pass([one, Generation(0.0, [1] * 4, [1.0, 2.0, 3.0, 4.0])]) == 1.5
    assert tokens_per_pass([Generation(0.0, [1], [1.0])]) is None

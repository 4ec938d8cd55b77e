"""What bounds the chosen candidate's decoding, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import edgehone
from edgehone.backends.null import backend
from edgehone.core.figure import Figure
from edgehone.device import bandwidth
from edgehone.execution import executor
from edgehone.optimize.evaluate.bottleneck import Reading, limiting_factors
from edgehone.plan import roofline
from edgehone.report.explain import explanation
from tests.tiny import SHALLOW

TOML = f"""{SHALLOW}
[gates]
latency_cv = false
[workloads.tiny]
prompt_tokens = 32
generated_tokens = 16
"""


def decide(model: Path, folder: Path) -> edgehone.Decision:
    config = folder / "tiny.toml"
    config.write_text(TOML)
    return edgehone.optimize(model, workload="tiny", effort="quick", backends=["null"], config_file=config)


@pytest.fixture(autouse=True)
def few_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    every = backend.recipes
    monkeypatch.setattr(
        backend, "recipes", lambda model: [r for r in every(model) if r.name in ("f32", "q8")]
    )


def test_what_fits_the_caches_is_not_bound_by_memory(
    own_home: Path, null_model: Path, tmp_path: Path
) -> None:
    decision = decide(null_model, tmp_path)
    chosen = decision.candidate("null/q8")
    share = chosen.figure("bandwidth_share")
    assert share.value is None and "fit the processor's caches" in str(share.reason)
    assert "memory bandwidth does not limit decoding" in explanation(decision)
    assert not any("decoding reads" in note for note in decision.notes)


def test_the_share_of_the_bandwidth_is_a_figure_and_what_is_missing_has_a_cause(
    own_home: Path, null_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "CACHED", 0)
    monkeypatch.setattr(executor, "read_bandwidth", lambda *_: Figure(1.0, n=3, unit=bandwidth.UNIT))
    decision = decide(null_model, tmp_path)
    chosen = decision.candidate("null/q8")
    share, rate = chosen.figure("bandwidth_share"), chosen.figure("decode_tokens_per_s")
    assert rate.value is not None and chosen.bytes is not None
    assert share.value == pytest.approx(rate.value * chosen.bytes / 1e9)
    assert rate.low is not None and share.low == pytest.approx(rate.low * chosen.bytes / 1e9)
    said = chosen.facts["bound"]
    # The pace of the null backend does not depend on the number of threads.
    assert "of the 1.0 GB/s" in said and ("neither arithmetic" in said or "overhead" in said)
    assert said in explanation(decision)
    assert f"null/q8: {said}" in decision.notes


def test_limiting_factors_are_named_with_their_figures() -> None:
    own = Reading(100e6, 0.010)
    # 2 ms beside 80 µs a megabyte, in three builds of one backend.
    line = [Reading(size, 0.002 + 80e-12 * size) for size in (100e6, 200e6, 400e6)]
    assert (
        "overhead: 2.00 of 10.00 ms per token do not depend on the bytes (regression over 3 builds)"
        in limiting_factors(own, line, 0.9)
    )
    assert (
        limiting_factors(own, [own], 0.51)
        == "it is limited by arithmetic: half of the threads decode at 51% of the speed"
    )
    both = limiting_factors(own, line, 0.5)
    assert "overhead" in both and "arithmetic" in both
    # Sizes that hardly differ give no line.
    near = [Reading(100e6, 0.010), Reading(101e6, 0.002)]
    assert (
        "neither arithmetic (half of the threads decode at 95% of the speed) nor overhead"
        in limiting_factors(own, near, 0.95)
    )
    assert limiting_factors(own, near, None) == "the limiting factor was not found"


def test_a_token_reads_the_weights_but_for_sleeping_embeddings(demo_model: Path) -> None:
    info = edgehone.inspect(demo_model)
    sized = replace(info, parameters=1000, vocabulary=10, hidden_size=20, kv_bytes_per_token=32)
    cache = 32 * 5
    assert roofline.read_bytes(4000, replace(sized, tied_embeddings=True), 5) == 4000 + cache
    assert roofline.read_bytes(4000, replace(sized, tied_embeddings=False), 5) == 4000 * 0.8 + cache
    assert roofline.read_bytes(4000, replace(sized, tied_embeddings=None), 0) == 4000

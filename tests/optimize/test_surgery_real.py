"""Surgery within a whole run, on a real toolchain: models with blocks left out are candidates like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import edgehone
from edgehone.backends.llamacpp import backend
from edgehone.decision.decision import Candidate
from tests.recipes import only

# A random model says nothing right, and this small one gains no speed.
GATES = ("speedup=off", "memory_cut=off", "accuracy_kept=off", "latency_cv=off")
TOML = """
[workloads.tiny]
prompt_tokens = 32
generated_tokens = 8
[efforts.thorough]
windows = 8
window = 64
rounds = 2
seconds = 0.1
tuning = 0
"""


@pytest.fixture
def twelve(make_example: Callable[..., Path]) -> Path:
    """A random Llama of 12 blocks, the fewest that blocks are taken from."""
    return make_example("make_tiny_families.py", "twelve", "--layers", "12", "llama") / "llama"


def value(candidate: Candidate, figure: str) -> float:
    found = candidate.figure(figure).value
    assert found is not None, (candidate.key, candidate.error)
    return found


@pytest.mark.real
@pytest.mark.xdist_group("measures")
@pytest.mark.long
def test_what_is_cut_is_proven_measured_and_judged(
    twelve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, backend, "F16", "Q8_0")
    (tmp_path / "tiny.toml").write_text(TOML)
    decision = edgehone.optimize(
        twelve,
        workload="tiny",
        effort="thorough",
        backends=["llamacpp"],
        gates=GATES,
        out=tmp_path / "bundle",
        config_file=tmp_path / "tiny.toml",
    )
    assert decision.chosen is not None and (tmp_path / "bundle" / "manifest.json").is_file()
    found = {one.recipe["name"]: one for one in decision.candidates}
    whole, one, two = (found[f"Q8_0{suffix}"] for suffix in ("", "-drop1", "-drop2"))
    assert [each.status for each in (whole, one, two)] == ["ok"] * 3, (whole.error, one.error, two.error)
    assert [len(each.facts["surgery"]["dropped"]) for each in (one, two)] == [1, 2]
    assert "surgery" not in whole.facts
    assert (whole.bytes or 0) > (one.bytes or 0) > (two.bytes or 0)
    for cut in (one, two):
        assert value(cut, "kl_mean") > value(whole, "kl_mean")
        assert value(cut, "decode_tokens_per_s") > 0

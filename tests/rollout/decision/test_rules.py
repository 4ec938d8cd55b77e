"""Rules: the shipped ones, entries in their place, and those that would not hold what they promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.rollout.decision.rules import (
    STRATEGIES,
    entries,
    of_table,
    read_rules,
    shipped,
    strategy_of,
    with_entries,
)


def test_the_shipped_rules_are_within_their_alpha() -> None:
    rules = shipped()
    assert sum(one.share for one in rules.objectives) + rules.leak.share == pytest.approx(1)
    assert {*rules.strategies} == {*STRATEGIES}
    weights = [one.weight for one in rules.strategies["ramp"]]
    assert weights == [0.0, 0.01, 0.05, 0.25, 0.5, 1.0]
    assert of_table(json.loads(json.dumps(rules.table))) == rules


def test_entries_of_a_file_replace_single_ones(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("[objective.errors]\nharm = 0.02\nnot_worse = 0.05\n")
    rules = read_rules(file)
    assert rules.objectives[0].harm == 0.02 and rules.objectives[0].share == shipped().objectives[0].share
    assert read_rules(None) is shipped()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"alphas": 1}, "there is no rule 'alphas'"),
        ({"objective": {"error": {"harm": 0.1}}}, "there is no rule 'objective.error'"),
        ({"objective": 3}, "objective is 3, no table"),
        ({"alpha": 0}, "alpha is 0"),
        ({"alpha": "x"}, "could not convert"),
        ({"bets": [0.7, 0.995]}, "could lose more than all"),
        ({"bets": [0.7, 1.5]}, r"bets\[1\] is 1.5"),
        ({"objective": {"errors": {"share": 0.9}}}, "the shares sum to 1.620"),
        ({"objective": {"errors": {"not_worse": 0.001}}}, "less than harm"),
        ({"objective": {"errors": {"role": "maybe"}}}, "role is 'maybe'"),
        ({"strategy": {"ramp": []}}, "has no stages"),
        ({"strategy": {"ramp": [{"name": "a", "weight": 1}]}}, "nothing is known of the champion"),
        ({"strategy": {"ramp": [{"name": "a", "weight": 0.5}, {"name": "b", "weight": 2}]}}, "has weight 2"),
        (
            {"strategy": {"ramp": [{"name": "a", "weight": 0.5}, {"name": "b", "weight": 0.1}]}},
            "'b' has weight 0.1",
        ),
        ({"strategy": {"ramp": [{"name": "a"}]}}, "has weight 0"),
        ({"strategy": {"ramp": [{"name": "a", "weight": 0.5, "seconds": -1}]}}, "lasts -1 s"),
        ({"strategy": {"ramp": [{"nam": "a"}]}}, "unexpected keyword"),
        ({"patience_seconds": -1}, "patience_seconds is -1"),
    ],
)
def test_rules_that_cannot_hold_are_refused_with_the_value(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_entries(given, "rules")


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("alpha = ")
    with pytest.raises(InputError, match=r"the rules .*x cannot be read"):
        entries(tmp_path / "x")


def test_an_unknown_strategy_is_refused_with_a_suggestion() -> None:
    assert strategy_of("ramp") == "ramp"
    with pytest.raises(InputError) as caught:
        strategy_of("blue-gren")
    assert "blue-green" in (caught.value.hint or "")

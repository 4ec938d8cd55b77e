"""Gates and weights from the data, the config and the command line."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.core.errors import InputError
from edgehone.decision import requirements


def by_name(**given: Any) -> dict[str, requirements.Gate]:
    return {gate.name: gate for gate in requirements.load(**given).gates}


def test_defaults() -> None:
    gates = by_name()
    assert {n: (g.op, g.threshold, g.bound) for n, g in gates.items()} == {
        "accuracy_kept": (">=", 0.95, "low"),
        "speedup": (">=", 2.0, "low"),
        "memory_cut": (">=", 0.5, "value"),
        "latency_cv": ("<=", 0.2, "value"),
    }
    judged = {
        "token_mismatch_max",
        "kl_mean_max",
        "same_top_min",
        "relative_error_max",
        "vision_kl_mean_max",
        "vision_same_top_min",
    }
    assert set(requirements.load().parity_check) == judged


def test_overrides_set_drop_and_switch_on() -> None:
    gates = by_name(overrides=["speedup=1.5", "memory_cut=off", "bytes_max=5e8", "task_accuracy_kept=on"])
    assert gates["speedup"].threshold == 1.5
    assert "memory_cut" not in gates
    assert (gates["bytes_max"].figure, gates["bytes_max"].threshold) == ("bytes", 5e8)
    assert gates["task_accuracy_kept"].threshold == 0.95


def test_the_command_line_goes_over_the_config() -> None:
    config = {"gates": {"speedup": 3, "memory_cut": False, "latency_cv": "off"}, "weights": {"speed": 2}}
    gates = by_name(config=config, overrides=["memory_cut=0.3"])
    assert (gates["speedup"].threshold, gates["memory_cut"].threshold) == (3.0, 0.3)
    assert "latency_cv" not in gates
    assert requirements.load(config).over({"speed": 1.0, "size": 1.0}) == {"speed": 2.0, "size": 1.0}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("sped=2", "unknown gate 'sped'", "did you mean 'speedup'"),
        ("zzz=2", "unknown gate 'zzz'", "known: accuracy_kept"),
        ("speedup", "is not NAME=VALUE", "--gate speedup=1.5"),
        ("=2", "is not NAME=VALUE", "--gate"),
        ("speedup=", "is not NAME=VALUE", "--gate"),
        ("speedup=fast", "'fast' is not a threshold", "--gate speedup=2"),
        ("speedup=nan", "'nan' is not a threshold", "--gate"),
        ("bytes_max=on", "'on' is not a threshold", "--gate bytes_max="),
    ],
)
def test_bad_overrides(text: str, message: str, hint: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        requirements.load(overrides=[text])
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"gates": 3}, "not a table"),
        ({"gates": {"speedup": []}}, "is not a threshold"),
        ({"gates": {"bytes_max": True}}, "is not a threshold"),
        ({"weights": {"sped": 1}}, "unknown objective 'sped'"),
        ({"weights": [1]}, "not a table"),
    ],
)
def test_bad_config(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        requirements.load(config)


def test_weights_of_nothing() -> None:
    with pytest.raises(InputError, match="all weights are 0"):
        requirements.load({"weights": {"speed": 0}}).over({"speed": 1.0})


@given(some.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        requirements.load(overrides=[text])

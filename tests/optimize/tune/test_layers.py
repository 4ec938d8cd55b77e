"""Layers on an accelerator in part: as many as fit, as few as a target needs. The null backend has a made-up device."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

import edgehone
from edgehone.backends.null import backend
from edgehone.backends.null.session import DEVICE_LAYERS
from edgehone.optimize.evaluate.layers import least, most
from edgehone.report.explain import explanation

OFF = ("memory_cut=off", "gain=off", "loss=off")


@given(low=some.integers(-5, 60), size=some.integers(0, 120), edge=some.integers(-10, 190))
def test_halving_the_range_finds_the_edge(low: int, size: int, edge: int) -> None:
    high, looks = low + size, list[int]()

    def fits(number: int) -> bool:
        looks.append(number)
        return number <= edge

    assert most(low, high, fits) == (None if edge < low else min(edge, high))
    assert len(looks) <= math.ceil(math.log2(size + 2))
    assert least(low, high, lambda number: number >= edge) == (None if edge > high else max(edge, low))


def search(
    model: Path, config: Path, monkeypatch: pytest.MonkeyPatch, room: int, **more: Any
) -> edgehone.Decision:
    """Run f32 and q8 on a device that has room for so many of the eight layers, as if a runtime saw it."""
    every = backend.recipes

    def there(model: Any) -> list[Any]:
        found = [one for one in every(model) if one.name in ("f32", "q8")]
        return [
            replace(one, name=f"{one.name}@NULL0", settings={**one.settings, "device": "NULL0", "room": room})
            for one in found
        ]

    monkeypatch.setattr(backend, "recipes", there)
    asked: dict[str, Any] = {"workload": "tiny", "effort": "quick", "backends": ["null"], "time": 600}
    return edgehone.optimize(model, config_file=config, gates=OFF, **asked, **more)


@pytest.mark.parametrize("room", [DEVICE_LAYERS, 5])
def test_as_many_layers_as_fit_the_device(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    found = search(null_model, config, monkeypatch, room)
    assert found.chosen == "null/q8@NULL0"
    chosen = found.candidate("null/q8@NULL0")
    if room == DEVICE_LAYERS:
        assert "gpu_layers" not in chosen.recipe["settings"] and "layers_on_device" not in chosen.facts
    else:
        assert chosen.recipe["settings"]["gpu_layers"] == 5
        assert "5 of 8 layers on NULL0: no more fit" in chosen.facts["layers_on_device"]
    pace = 1.0 * (1 - 0.9 * room / DEVICE_LAYERS)
    assert chosen.figure("workload_latency_ms").value == pytest.approx(pace * (32 / 10 + 16))
    assert "only the layers there are searched, for a target of speed" in explanation(found)


def test_a_device_without_room_for_one_layer_fails_as_before(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(edgehone.EdgehoneError) as caught:
        search(null_model, config, monkeypatch, 0)
    decision = caught.value.decision  # type: ignore[attr-defined]
    assert "8 layers do not fit the device" in decision.candidate("null/f32@NULL0").error


def test_a_target_gets_the_fewest_layers_that_meet_it(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request takes 19.2 steps of 1 - 0.9 n/8 ms: 10.56 ms with 4 layers, 8.4 with 5."""
    found = search(null_model, config, monkeypatch, DEVICE_LAYERS, targets=("workload_latency_ms<=9",))
    assert found.chosen == "null/q8@NULL0[gpu_layers=5]"
    chosen = found.candidate(found.chosen)
    assert chosen.recipe["settings"]["gpu_layers"] == 5
    assert "5 of 8 layers on NULL0: the fewest that meet" in chosen.facts["layers_on_device"]
    tried = {one["settings"]["gpu_layers"]: one for one in chosen.facts["tuning"]}
    assert tried[5]["confirmed"] and len(tried) <= 3
    assert "does not meet" in tried[4]["reason"] and not tried[4]["confirmed"]
    assert "gpu_layers = 5" in explanation(found)
    assert "with fewer layers there" in found.candidate("null/q8@NULL0").facts["raced_out"]


def test_a_target_that_needs_all_layers_keeps_them(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = search(null_model, config, monkeypatch, DEVICE_LAYERS, targets=("workload_latency_ms<=3",))
    assert found.chosen == "null/q8@NULL0"
    assert "gpu_layers" not in found.candidate(found.chosen).recipe["settings"]
    assert {one["settings"]["gpu_layers"] for one in found.candidate(found.chosen).facts["tuning"]} == {
        4,
        6,
        7,
    }

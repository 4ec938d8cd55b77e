"""Frames that arrive at a steady pace, timed by the graph's own clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from edgehone.backends.null.clock import VirtualClock
from edgehone.evaluation import speed, stream
from edgehone.evaluation.speed import Request
from edgehone.inputs.batches import Batches
from edgehone.worker.stream import TURN, Frames

BATCHES = Batches({"x": np.arange(5, dtype=np.float32).reshape(5, 1)}, None)


class Graph:
    """A graph that takes `seconds` per frame, by its own clock."""

    def __init__(self, seconds: float) -> None:
        self.clock, self.seconds = VirtualClock(), seconds
        self.answered: list[float] = []

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.answered.append(float(feeds["x"][0, 0]))
        self.clock.sleep(self.seconds)
        return {}

    def close(self) -> None:
        self.answered.clear()


def stream_of(graph: Graph, deadline: float = 0.125) -> Frames:
    """Eight frames per second, of one sample each."""
    return Frames(graph, BATCHES, 1, 8.0, deadline)


def test_a_fast_graph_answers_every_frame() -> None:
    graph = Graph(0.0625)
    turn = stream_of(graph).answer()
    assert [one["total"] for one in turn] == pytest.approx([0.0625] * 10)
    assert {(one["frames"], one["late"]) for one in turn} == {(1, 0.0)}
    assert graph.answered == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_a_slow_graph_answers_the_newest_frame_and_drops_those_between() -> None:
    turn = stream_of(Graph(0.3125)).answer()
    # 0.3125 s are 2.5 frames: frame 2 has waited half of a frame's time when its turn comes.
    assert [one["frames"] for one in turn[:3]] == [1, 2, 3]
    assert [one["total"] for one in turn[:3]] == pytest.approx([0.3125, 0.375, 0.3125])
    assert all(one["late"] for one in turn)
    assert sum(one["frames"] for one in turn) >= TURN


def test_a_frame_is_late_after_its_deadline() -> None:
    frames = stream_of(Graph(0.09375), deadline=0.0625)
    assert {one["late"] for one in frames.answer()} == {1.0}


def rounds(*counts: tuple[int, int]) -> list[dict[str, Any]]:
    """Rounds of ten answered frames, of which each says how many came and how many were late."""
    return [
        {
            "cold": False,
            "load": 1.0,
            "requests": [{"total": 0.1, "frames": frames / 10, "late": float(at < late)} for at in range(10)],
        }
        for frames, late in counts
    ]


def test_dropped_are_the_replaced_and_the_late(monkeypatch: pytest.MonkeyPatch) -> None:
    found = speed.figures(rounds((10, 1), (10, 3), (10, 2)), Request(frames_per_s=30.0))
    dropped = found["dropped_frames"]
    assert dropped.value == pytest.approx(0.2) and (dropped.n, dropped.unit) == (3, "share")
    assert dropped.low is not None and dropped.high is not None and dropped.low < 0.1 and dropped.high > 0.3
    assert found["requests_per_s"].value == pytest.approx(30)


def test_none_dropped_is_not_certainty() -> None:
    none = stream.dropped(rounds((10, 0), (10, 0)))
    assert (none.value, none.n) == (0.0, 20) and none.high is not None and none.high > 0.1
    every = stream.dropped(rounds((10, 10)))
    assert every.value == 1.0 and every.low is not None and every.low < 0.9


def test_only_a_stream_drops_frames() -> None:
    one = {"cold": False, "load": 1.0, "requests": [{"total": 0.5}] * 3}
    assert "dropped_frames" not in speed.figures([one], Request())

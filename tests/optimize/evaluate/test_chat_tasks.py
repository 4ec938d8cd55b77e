"""The shares of right answers, of valid structured output and of valid calls, each against the original's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.base import Recipe
from edgehone.execution.job import Input
from edgehone.optimize.evaluate import chat_tasks

RECIPE = Recipe("null", "original", {}, effort="quick", exact=True, why="")


def answers(*rights: tuple[str, bool]) -> list[dict[str, Any]]:
    return [{"kind": kind, "right": right, "text": "said"} for kind, right in rights]


def compared(
    monkeypatch: pytest.MonkeyPatch, base: list[dict[str, Any]], found: list[dict[str, Any]], identity: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the figures of a trial with that artifact, and the artifacts that were asked."""
    asked: list[str] = []

    def ask(ctx: Any, recipe: Recipe, artifact: Input, prepared: Any) -> list[dict[str, Any]]:
        asked.append(artifact.identity)
        return base if artifact.identity == "own" else found

    def result(identity: str) -> Any:
        return SimpleNamespace(out=Path("out"), identity=identity)

    monkeypatch.setattr(chat_tasks, "_answers", ask)
    monkeypatch.setattr(chat_tasks, "build", lambda *_: result("own"))
    monkeypatch.setattr(Input, "of", lambda done: Input(done.out, done.identity))
    backend = SimpleNamespace(NAME="null", original=lambda _: RECIPE, __name__="null")
    monkeypatch.setattr(chat_tasks, "runs_as", lambda ctx, recipe, artifact: artifact.identity)
    ctx: Any = SimpleNamespace(datasets={chat_tasks.INPUT: None}, reference_backend=backend, model=None)
    original: Any = SimpleNamespace(facts=chat_tasks.reference(ctx, result("prepared")), prepared=None)
    trial: Any = SimpleNamespace(artifact=result(identity), recipe=RECIPE, figures={}, samples={})
    chat_tasks.compare(ctx, original, trial)
    assert trial.samples["chat_tasks"]["original"] == base
    return trial.figures, asked


def test_an_original_that_makes_no_call_has_none_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the candidate does: JSON values alone do not say whether calls are kept."""
    base = answers(("number", True), ("json", True), ("json", False), ("call", False), ("call", False))
    found = answers(("number", True), ("json", True), ("json", False), ("call", True), ("call", False))
    figures, _ = compared(monkeypatch, base, found, "other")
    assert (figures["calls_valid"].value, figures["calls_valid"].n) == (0.5, 2)
    kept = figures["calls_valid_kept"]
    assert kept.value is None and "makes no valid call of a tool in 2 tasks" in str(kept.reason)
    assert figures["structured_valid"].value == 0.5 and figures["structured_valid_kept"].value == 2.0
    assert figures["task_accuracy"].value == pytest.approx(0.6)


def test_calls_that_are_lost_are_seen_beside_values_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    base = answers(("json", True), ("json", True), ("call", True), ("call", True))
    found = answers(("json", True), ("json", True), ("call", False), ("call", False))
    figures, _ = compared(monkeypatch, base, found, "other")
    assert figures["structured_valid_kept"].value == 0.5 and figures["calls_valid_kept"].value == 0.0


def test_kinds_that_no_task_has_have_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    right = answers(("number", True), ("contains", True))
    figures, _ = compared(monkeypatch, right, right, "other")
    assert set(figures) == {"task_accuracy", "task_accuracy_kept"}


def test_what_runs_as_the_original_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    base = answers(("json", True), ("call", False))
    figures, asked = compared(monkeypatch, base, [], "own")
    assert asked == ["own"] and figures["structured_valid_kept"].value == 1.0
    _, asked = compared(monkeypatch, base, base, "other")
    assert asked == ["own", "other"]

"""A run without processes: jobs return rounds that a test describes, for tests of what is measured and repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from edgehone.backends.base import Recipe
from edgehone.backends.null import backend as null
from edgehone.core.events import Emit
from edgehone.execution.store import JobResult
from edgehone.optimize.context import EffortSettings, RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.patience import Patience, WhenBusy
from edgehone.optimize.trial import Trial

EFFORT = EffortSettings(windows=4, window=8, rounds=5, seconds=1.0, budget=100.0, samples=8, patience=100.0)
# What a job of a measurement takes, as recorded.
JOB_SECONDS = 2.0


def result(facts: Mapping[str, Any], **more: Any) -> JobResult:
    """Return a finished job with these facts."""
    given = {"seconds": JOB_SECONDS, "cached": False, "watch": {}, "identity": "key"}
    return JobResult("key", Path("/none"), facts, **{**given, **more})


def round_facts(
    milliseconds: float, *, at: float = 60.0, disturbed: bool = False, cold: bool = False
) -> dict[str, Any]:
    """Return the facts of a round of equal requests; others disturb all of it or nothing."""
    total = milliseconds / 1000
    requests = [{"ttft": total / 10, "total": total, "delay": 0.9 * total if disturbed else 0.0}] * 20
    conditions = {"others_share": 0.9 if disturbed else 0.0}
    return {"cold": cold, "load": 1.0, "at": at, "requests": requests, "conditions": conditions}


def trial(name: str) -> Trial:
    """Return a trial that was built, with its name in its settings, by which jobs are told apart."""
    return Trial(Recipe("null", name, settings={"name": name}), artifact=result({}), bytes=1_000_000)


@dataclass(frozen=True)
class Context:
    """What measuring reads of a RunContext."""

    run: Callable[..., JobResult]
    patience: Patience
    target_executor: Any
    emit: Emit
    announce: Callable[..., Callable[[float, str], None]]
    effort: EffortSettings = EFFORT
    device: Any = field(default_factory=lambda: SimpleNamespace(fingerprint="here"))
    model: Any = field(default_factory=lambda: SimpleNamespace(kind="language"))
    epoch: str = "today"
    measurement_group: str = ""
    reference_backend: Any = null
    backends: Mapping[str, Any] = field(default_factory=lambda: {"null": null})


class Run:
    """A run of which each job is answered by `answer(recipe's name, its arguments)`. `jobs` are those that were run."""

    def __init__(
        self,
        answer: Callable[[str, Mapping[str, Any]], JobResult],
        *,
        when_busy: WhenBusy = "measure",
        share: float = 0.0,
    ) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.now: dict[str, Any] = {"date": "2026-01-01", "kernel": "6.1", "governors": None, "power": None}
        self._answer = answer
        self.original = Original(
            result({}), result({}), trial("original"), {"prompt": [1] * 8, "generated": 4}
        )
        self.patience = Patience(when_busy, EFFORT.patience, lambda: {"share": share, "programs": []})
        self.said: list[str] = []
        self.told: list[str] = []
        made = Context(
            self._run,
            self.patience,
            SimpleNamespace(call=lambda function: self.now),
            lambda event: self.told.append(event.detail),
            lambda recipe, state, detail: lambda fraction, text: self.said.append(text),
        )
        self.ctx = cast(RunContext, made)

    def _run(self, backend: str, call: str, args: Mapping[str, Any], inputs: Any, **more: Any) -> JobResult:
        self.jobs.append({"call": call, "args": dict(args), **more})
        return self._answer(args["settings"]["name"], args)

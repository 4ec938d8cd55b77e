"""The history: every trial of every search, kept as lines of JSON, for people and for the next run of the same search.

EDGEHONE_HOME/history/NAME.jsonl: a line about the search, then one for each thing that became known of a trial; of
several about one recipe the last counts. A line that a kill cut short is not read.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.decision.requirements import Requirements
from edgehone.execution.home import home
from edgehone.optimize.context import RunContext
from edgehone.optimize.trial import Trial
from edgehone.plan.roofline import workload_demand


@dataclass(frozen=True)
class Study:
    """One search: what it is about, and what was tried, in the order of the first try."""

    name: str
    about: Mapping[str, Any]
    path: Path
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    @property
    def order(self) -> list[str]:
        """The keys of what was built or refused, first tried first."""
        return [key for key, told in self.trials.items() if told["tried"]]

    def record(self, *trials: Trial) -> None:
        """Keep what is known of trials now, unless nothing new is."""
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            for told in map(_told, trials):
                if {**self.trials.get(told["key"], {}), "at": None} != {**told, "at": None}:
                    self.trials[told["key"]] = told
                    file.write(json.dumps(told) + "\n")


def study_of(ctx: RunContext, required: Requirements, weights: Mapping[str, float]) -> Study:
    """The study of a run: another model, device, workload, text, gate or weight makes it another one."""
    texts = {name: given.identity for name, given in ctx.datasets.items()}
    asked = workload_demand(ctx.model, ctx.workload)
    return open_study(
        ctx.model.folder.name,
        {
            "model": ctx.source.identity,
            "device": ctx.device.fingerprint,
            **({"at": ctx.target_executor.name} if ctx.target_is_remote else {}),
            "workload": ctx.workload.to_json(),
            "requirements": {**required.to_json(), "weights": dict(weights)},
            "texts": texts,
            "edgehone": version("edgehone"),
            "asks": asked.to_json() if asked else None,
            **({"target": ctx.prediction_target.name} if ctx.prediction_target else {}),
        },
    )


def open_study(model: str, about: Mapping[str, Any]) -> Study:
    """The study of that name and content, with what earlier runs of it told; made if it is new.

    `about` is whatever makes it another search: digests of model and texts, device, workload, gates, weights.
    """
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
    folder = home() / "history"
    folder.mkdir(exist_ok=True)
    path = folder / f"{model}-{digest}.jsonl"
    if not path.exists():
        head = {"about": dict(about), "created": _now()}
        path.write_text(json.dumps(head) + "\n", encoding="utf-8")
    else:
        _mend(path)
    return _read(path)


def studies() -> list[Study]:
    """All that are kept, the latest used last."""
    paths = sorted((home() / "history").glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    return [_read(path) for path in paths]


def study(name: str) -> Study:
    """The one of that name. Raises InputError for an unknown one."""
    path = home() / "history" / f"{name}.jsonl"
    if not path.is_file():
        known = [p.stem for p in (home() / "history").glob("*.jsonl")]
        hint = suggest(name, known, "edgehone history lists them")
        raise InputError(f"no search {name!r} in the history", hint=hint)
    return _read(path)


def _read(path: Path) -> Study:
    lines = list(_lines(path))
    head: dict[str, Any] = lines[0] if lines and "about" in lines[0] else {"about": {}, "created": ""}
    trials: dict[str, dict[str, Any]] = {}
    for line in lines:
        if "key" in line:
            trials[line["key"]] = line
    return Study(path.stem, {**head["about"], "created": head["created"]}, path, trials)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue  # cut short by a kill; what it told is told again by the next run
        if isinstance(found, dict):
            yield found


def _mend(path: Path) -> None:
    """End a line that a kill cut short, so that the next begins on its own."""
    with path.open("rb+") as file:
        if file.seek(0, 2) and (file.seek(-1, 2), file.read(1))[1] != b"\n":
            file.write(b"\n")


def _told(trial: Trial) -> dict[str, Any]:
    kept = ("build_seconds", "raced_out", "null_test", "tuned_from")
    return {
        "key": trial.recipe.key,
        "recipe": trial.recipe.to_json(),
        "bits": trial.recipe.bits,
        "calibrated": trial.recipe.calibrated,
        "tried": trial.artifact is not None or trial.status == "failed",
        "status": trial.status,
        "error": trial.error,
        "bytes": trial.bytes,
        "figures": {
            name: figure.to_json() for name, figure in trial.figures.items() if figure.value is not None
        },
        "facts": {name: trial.facts[name] for name in kept if name in trial.facts},
        "at": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

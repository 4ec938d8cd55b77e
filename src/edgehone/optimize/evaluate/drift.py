"""Keep the latencies of all runs in EDGEHONE_HOME/speeds.sqlite; widen intervals by how much the machine drifts."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing

from edgehone.core.errors import SetupError
from edgehone.core.figure import Figure
from edgehone.decision import pairs
from edgehone.decision.decide import DISTURBED
from edgehone.evaluation.drift import FOLLOWING, Drift, Run, drift_of
from edgehone.execution.database import open_database
from edgehone.execution.home import home
from edgehone.optimize.context import RunContext
from edgehone.optimize.trial import Trial

# Append to it; never change a released migration (`open_database`).
_MIGRATIONS = (
    (
        "create table speeds (machine text not null, artifact text not null, run real not null, "
        "latency_ms real not null, primary key (machine, artifact, run))",
    ),
)
# Older runs say little of the machine as it is now.
_SECONDS = 90 * 86400.0


def include_drift(ctx: RunContext, trials: Sequence[Trial]) -> list[str]:
    """Record the latencies of a run, widen the intervals of its times and rates, and return a note about it.

    The first of the trials is the original. How far ratios to it drift is kept as a fact for the interval of `speedup`.
    Candidates are compared with each other by pairs of rounds, which the drift does not touch. Raises SetupError if the
    database cannot be read or written.
    """
    measured = [one for one in trials if one.alive and one.facts.get(pairs.ROUNDS)]
    if not measured:
        return []
    found = _drift(ctx, measured, _identity(ctx, trials[0]))
    if found is None:
        return []
    for trial in measured:
        if found.ratio_half is not None and trial is not trials[0]:
            trial.facts[pairs.DRIFT] = found.ratio_half
        trial.figures.update(
            {name: found.widen(trial.figures[name]) for name in FOLLOWING if name in trial.figures}
        )
    return [str(found)]


def _drift(ctx: RunContext, measured: Sequence[Trial], original: str) -> Drift | None:
    machine = ctx.device.fingerprint + (f" {ctx.target_executor.name}" if ctx.target_is_remote else "")
    begun = min(at for one in measured for at, *_ in one.facts[pairs.ROUNDS].values())
    # What other programs took is no property of the machine.
    rows = [
        (machine, _identity(ctx, one), begun, latency)
        for one in measured
        if DISTURBED not in one.facts and (latency := _value(one.figures.get("workload_latency_ms")))
    ]
    path = home() / "speeds.sqlite"
    try:
        with closing(open_database(path, _MIGRATIONS)) as database, database:
            database.executemany("insert or replace into speeds values (?, ?, ?, ?)", rows)
            database.execute("delete from speeds where run < ?", (time.time() - _SECONDS,))
            known = database.execute(
                "select run, artifact, latency_ms from speeds where machine = ? order by run", (machine,)
            ).fetchall()
    except sqlite3.Error as error:
        raise SetupError(
            f"the speeds of earlier runs, {path}, cannot be read or written: {error}",
            hint=f"move it away: mv {path} {path}.broken",
        ) from error
    runs: dict[float, dict[str, float]] = {}
    for run, artifact, latency in known:
        runs.setdefault(run, {})[artifact] = latency
    return drift_of((Run(at, latencies) for at, latencies in runs.items()), original)


def _identity(ctx: RunContext, trial: Trial) -> str:
    """Return what identifies comparable runs: model, recipe, workload, and the versions of packages."""
    environment = ctx.environments.get(trial.recipe.backend)
    about = {
        "model": ctx.source.identity,
        "recipe": trial.recipe.to_json(),
        "workload": ctx.workload.to_json(),
        "versions": dict(environment.versions) if environment else {},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


def _value(figure: Figure | None) -> float | None:
    return figure.value if figure and not figure.predicted else None

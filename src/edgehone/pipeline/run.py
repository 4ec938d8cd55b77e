"""Run the stages of a pipeline, one after another; skip those whose result still holds.

A stage runs if the one that it needs has passed. A result is recorded when a stage ends, so a run that is killed goes
on with the stage that it was in. Nothing is run twice: a stage that has passed is skipped while inputs, settings, code
and what it left behind are the same.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from edgehone.core.errors import EdgehoneError, InputError, SetupError
from edgehone.execution.home import file_lock
from edgehone.pipeline.keys import key_of
from edgehone.pipeline.plan import planned
from edgehone.pipeline.record import Record
from edgehone.pipeline.reports.write import write_reports
from edgehone.pipeline.result import Result
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.work import Work

Say = Callable[[str], None]


def run(work: Work, say: Say, *, only: str | None = None, again: Collection[str] = ()) -> list[Result]:
    """Run the stages, and return their results in the order of the file.

    `only`: run this stage alone; those before it must have passed. `again`: stages to run although their result holds.
    Raises SetupError if another run uses the folder, or it cannot be written; what was recorded until then is kept.
    """
    with _alone(work.out):
        record = Record(work.out, secrets.token_hex(4))
        results: dict[str, Result] = {}
        for stage in planned(work.document):
            wanted = only is None or stage.name == only
            results[stage.name] = _result(stage, replace(work, say=say), record, results, wanted, again)
            _report(work, results)
            if stage.name == only:
                break
        return list(results.values())


def _result(
    stage: Stage,
    work: Work,
    record: Record,
    results: Mapping[str, Result],
    wanted: bool,
    again: Collection[str],
) -> Result:
    """Return the result of a stage: of an earlier run if it holds, else of running it now."""
    before = results.get(stage.needs) if stage.needs else None
    if before is not None and not before.passed:
        return _ended(record, Result(stage.name, "", "blocked", f"{before.stage} has not passed"), work)
    passed = {name: one for name, one in results.items() if one.passed}
    work = work.for_stage(stage.name, passed)
    key = key_of(stage, work, before)
    known = record.results().get(stage.name)
    if known is not None and known.passed and known.key == key and stage.name not in again:
        departed = stage.departed(work, known)
        if departed is None:
            return _ended(record, replace(known, skipped=True), work)
        work.say(f"{stage.name}: runs again: {departed}")
    if not wanted:
        raise InputError(
            f"{stage.name}, which comes before, has not passed with these inputs and settings",
            hint=f"edgehone pipeline run FILE --stage {stage.name}",
        )
    if stage.approval(work.pipeline) == "manual":
        answer = record.answer(stage.name, key)
        if answer is None:
            said = f"waits for approval: edgehone pipeline approve FILE {stage.name} --by NAME"
            return _ended(record, Result(stage.name, key, "waiting", said), work)
        if answer.answer == "rejected":
            said = f"rejected by {answer.by}: {answer.why or 'no reason given'}"
            return _ended(record, Result(stage.name, key, "failed", said), work)
        work.notes.append(f"approved by {answer.by} at {answer.at}: {answer.why or 'no reason given'}")
    return _ended(record, _made(stage, work, record, key), work)


def _made(stage: Stage, work: Work, record: Record, key: str) -> Result:
    """Run a stage. An error that edgehone raises is its failure; another one ends the run."""
    began, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    record.begin(stage.name, key)
    work.say(f"{stage.name}: {stage.says}")
    work = replace(
        work,
        remember=lambda facts: record.remember(stage.name, facts),
        remembered=record.remembered(stage.name),
    )
    work.log.unlink(missing_ok=True)
    outcome, outputs = "passed", {}
    try:
        found, said = stage.make(work)
        outputs = dict(found)
    except EdgehoneError as error:
        outcome, said = "failed", error.message + (f" (next: {error.hint})" if error.hint else "")
    return Result(
        stage.name,
        key,
        "passed" if outcome == "passed" else "failed",
        said,
        began,
        round(time.perf_counter() - begun, 3),
        tuple(work.checks),
        outputs,
        tuple(work.notes),
        tuple(work.figures),
    )


def _ended(record: Record, result: Result, work: Work) -> Result:
    record.finish(result)
    word = "skipped, unchanged" if result.skipped else result.outcome
    work.say(f"{result.stage}: {word}: {result.said}")
    return result


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder of a run against other runs. Raises SetupError if another one has it, or it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{out} cannot be made: {error.strerror}", hint="give another --out") from error
    try:
        with file_lock(out / "pipeline.lock", wait=False):
            yield
    except BlockingIOError:
        raise SetupError(f"another run works in {out}", hint="wait for it, or give another --out") from None
    except OSError as error:
        raise SetupError(
            f"the run cannot write: {error}",
            hint="free some space and repeat the command; what passed is kept",
        ) from error


def _report(work: Work, results: Mapping[str, Result]) -> None:
    write_reports(work.out, work.model_name, planned(work.document), results)

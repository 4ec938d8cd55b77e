"""The original: its tokens, its log-probabilities, and itself as the baseline that all others must beat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgehone.errors import JobError, ModelError, TextError
from edgehone.events import Event
from edgehone.jobs.run import Input
from edgehone.jobs.store import JobResult
from edgehone.measure.score import MAX_BYTES
from edgehone.stages.bench import Bench
from edgehone.stages.build import build
from edgehone.stages.trial import Trial

# Fewer windows than this are too few samples for an interval that means something.
LEAST_WINDOWS = 4


@dataclass(frozen=True)
class Original:
    """What every candidate is compared with.

    `prepared` holds the token ids of all texts, `reference` the original's log-probabilities, `prompt` the ids
    that every speed request starts with.
    """

    prepared: JobResult
    reference: JobResult
    baseline: Trial
    prompt: list[int]
    sample_ids: list[int]

    def require_baseline(self) -> None:
        """Raise JobError where the original itself failed: without it nothing can be compared."""
        if not self.baseline.alive:
            log = Path(self.baseline.log) if self.baseline.log else None
            raise JobError(
                f"the original itself fails: {self.baseline.error}",
                log=log,
                hint=f"edgehone backends check {self.baseline.recipe.backend}",
            )


def prepare(bench: Bench) -> tuple[Bench, JobResult]:
    """Tokenize the texts with the original's own tokenizer; the bench returned offers `calibration` to builds."""
    bench.emit(Event("", detail="tokenizing the texts with the original's tokenizer"))
    origin = bench.origin
    try:
        prepared = bench.run(
            origin.NAME,
            "edgehone.measure.prepare:prepare",
            {},
            {"model": bench.source, **bench.texts},
            opens=True,
        )
    except JobError as error:
        raise ModelError(
            f"the original's tokenizer cannot be used: {error.message}",
            hint=error.hint or f"edgehone inspect {bench.model.path}",
        ) from error
    # What a calibrated build depends on is the calibration text and the tokenizer, not the evaluation text.
    identity = f"{bench.source.identity}/{bench.texts['calibration'].identity}"
    calibration = Input(prepared.out / "calibration", identity)
    return replace(bench, texts={"calibration": calibration}), prepared


def reference(bench: Bench, prepared: JobResult) -> Original:
    """Score the original in float32 and make it the baseline (in its stored dtype)."""
    origin = bench.origin
    recipe = origin.reference(bench.model)
    ids = json.loads((prepared.out / "evaluation.json").read_text("utf-8"))["ids"]
    bos = list(prepared.facts["bos"])
    args = {
        "settings": dict(recipe.settings),
        "bos": bos,
        "max_bytes": MAX_BYTES,
        **_windows(bench, ids, bos),
    }
    tell = bench.tell(recipe, "scoring", "the original in float32")
    try:
        artifact = build(bench, recipe)
        scored = bench.run(
            origin.NAME,
            "edgehone.measure.score:reference",
            args,
            {"artifact": Input.of(artifact), "prepared": Input.of(prepared)},
            opens=True,
            tell=tell,
        )
    except JobError as error:
        raise ModelError(
            f"the original cannot be run: {error.message}" + (f" (log: {error.log})" if error.log else ""),
            hint=error.hint or f"edgehone inspect {bench.model.path}",
        ) from error
    bench.emit(Event(recipe.key, "done"))
    prompt = (bos + ids)[: bench.workload.prompt_tokens]
    if len(prompt) < bench.workload.prompt_tokens:
        raise TextError(
            f"the evaluation text has {len(ids)} tokens, the workload's prompt needs {bench.workload.prompt_tokens}",
            hint="give a longer text with --eval FILE",
        )
    sample = json.loads((prepared.out / "sample.json").read_text("utf-8"))
    return Original(prepared, scored, Trial(origin.original(bench.model)), prompt, sample)


def _windows(bench: Bench, ids: list[int], bos: list[int]) -> Mapping[str, Any]:
    """As many windows as the effort asks for, or as the text has; shorter ones for a shorter context."""
    window = min(bench.depth.window, bench.model.context or bench.depth.window)
    # A short text gives shorter windows rather than too few of them.
    while window > 32 and len(ids) // (window - len(bos)) < LEAST_WINDOWS:
        window //= 2
    windows = min(bench.depth.windows, len(ids) // (window - len(bos)))
    if windows < LEAST_WINDOWS:
        raise TextError(
            f"the evaluation text has {len(ids)} tokens: too few for {LEAST_WINDOWS} windows of {window}",
            hint="give a longer text with --eval FILE, or leave --eval out for the shipped one",
        )
    return {"windows": windows, "window": window}

"""Write the chosen candidate as a bundle, with the evidence of all candidates and the report."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgehone import bundle
from edgehone.bundle.schema import Manifest
from edgehone.bundle.write import Contents, Evidence
from edgehone.decision.decision import Decision
from edgehone.model.embedding import read_embedding
from edgehone.optimize import artifact_digests
from edgehone.optimize.canaries import canaries, graph_canaries
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial
from edgehone.report.findings import Findings
from edgehone.report.html import page

# Length of the end of a failed candidate's log that is written into the bundle, in characters.
LOG_END = 20_000
_NOTICES = re.compile(r"(licen[cs]e|notice|copying|readme|use_policy)", re.IGNORECASE)


def write_bundle(
    target: Path,
    decision: Decision,
    ctx: RunContext,
    original: Original,
    trials: Sequence[Trial],
    *,
    command: Sequence[str],
) -> None:
    """Write the bundle of the chosen trial, or of the fallback, to `target`.

    `command` is the command line that reproduces it. Raises SetupError when the disk is full, and when a file of the
    artifact was changed since it was built.
    """
    chosen = next(trial for trial in [*trials, original.baseline] if trial.recipe.key == decision.bundled)
    assert chosen.artifact is not None
    artifact_digests.check(chosen.artifact)
    evidence = [_evidence(trial) for trial in [original.baseline, *trials]]
    findings = Findings(
        target.name,
        decision,
        {one.key: one.samples for one in evidence},
        {one.key: one.log for one in evidence if one.log},
        shlex.join(command),
    )
    answered, folder = canaries(ctx, original, chosen)
    contents = Contents(
        decision,
        chosen.artifact.out,
        replace(_manifest(decision, ctx, original, chosen), canaries=answered),
        page([findings]),
        command,
        evidence,
        tokenizer=tokenizer if (tokenizer := original.prepared.out / "tokenizer").is_dir() else None,
        canaries=folder or graph_canaries(ctx, original, chosen),
        notices=_notices(ctx.model.folder),
    )
    bundle.write(target, contents)


def _manifest(decision: Decision, ctx: RunContext, original: Original, chosen: Trial) -> Manifest:
    assert chosen.artifact is not None
    return Manifest(
        edgehone=decision.edgehone,
        created=decision.created,
        recipe=chosen.recipe.to_json(),
        facts=chosen.facts,
        artifact_key=chosen.artifact.key,
        approved=decision.chosen is not None,
        kind=ctx.model.kind,
        eos=tuple(original.prepared.facts.get("eos", ())),
        tokenizer="original" if original.prepared.facts.get("portable") else "runtime",
        pictures=original.facts["pictures"].facts["template"] if "pictures" in original.facts else None,
        embedding=read_embedding(ctx.model.folder) if ctx.model.task == "feature-extraction" else None,
        decoding=original.facts.get("decoding"),
        batch=original.request.get("batch", 1),
        inputs=tuple(ctx.model.to_json()["inputs"]),
        axes=original.facts.get("axes", {}),
        preprocessing=original.facts.get("preprocessing"),
        proven=original.facts.get("proven", {}),
        device=ctx.device.to_json(),
        target=ctx.prediction_target.to_json() if ctx.prediction_target else None,
        model={
            "name": ctx.model.path.name,
            "architecture": ctx.model.architecture,
            "digest": ctx.source.identity,
            "licence": ctx.model.licence,
        },
        texts=original.prepared.facts["texts"],
        versions=decision.versions,
        files={},  # filled in by bundle.write
    )


def _evidence(trial: Trial) -> Evidence:
    arrays = sorted(trial.score.out.glob("*.npz")) if trial.score is not None else []
    log = _end_of(Path(trial.log)) if trial.log else ""
    return Evidence(trial.recipe.key, trial.samples, arrays, log or None)


def _end_of(log: Path) -> str:
    """Return the end of a log, or "" if it was deleted from the store; the decision contains the cause anyway."""
    try:
        return log.read_text("utf-8", "replace")[-LOG_END:]
    except OSError:
        return ""


def _notices(model: Path) -> list[Path]:
    return [path for path in sorted(model.iterdir()) if path.is_file() and _NOTICES.match(path.name)]

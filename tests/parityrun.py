"""Tokenizes and scores a language model, and judges backends by their unquantized builds; nothing is measured."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from edgehone.backends import registry
from edgehone.backends.base import ReferenceBackend
from edgehone.core.events import silent
from edgehone.decision import requirements
from edgehone.decision.decision import Conversion
from edgehone.execution.environments import environment
from edgehone.execution.executor import LocalExecutor
from edgehone.execution.job import Input, Limits
from edgehone.inputs import workload
from edgehone.inputs.texts import shipped
from edgehone.model import digest
from edgehone.model.inspect import inspect
from edgehone.optimize.context import EffortSettings, ReadyExecutor, RunContext
from edgehone.optimize.evaluate import language, parity
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial

ORIGIN = "pytorch"
BACKENDS = [
    name
    for name in registry.names()
    if registry.load(name).NEEDS.lock is not None and not registry.load(name).REFERENCE
]


def prepare(folder: Path, work: Path, window: int = 128) -> tuple[RunContext, Original]:
    """Return the run context of a model in `folder` and its reference on 512 tokens. `work` keeps digests."""
    names = (ORIGIN, *BACKENDS)
    ready = {name: environment.ensure(name, registry.load(name).NEEDS, lambda _: None) for name in names}
    info = inspect(folder)
    texts = {
        kind: Input(shipped(kind), digest.digest_file(shipped(kind)))
        for kind in ("evaluation", "calibration")
    }
    site = ReadyExecutor(LocalExecutor(), ready, Limits(seconds=300))
    ctx = RunContext(
        model=info,
        source=Input(info.path, digest.digest_model(info, work)),
        build_executor=site,
        target_executor=site,
        workload=workload.fit(workload.load(), info.context)[0],
        effort=EffortSettings(
            windows=512 // window, window=window, rounds=3, seconds=0.1, budget=1.0, samples=4
        ),
        backends=registry.load_all(),
        reference_backend=cast(ReferenceBackend, registry.load(ORIGIN)),
        emit=silent,
        datasets=texts,
    )
    ctx, prepared = language.prepare(ctx)
    return ctx, language.reference(ctx, prepared)


def judge(ctx: RunContext, original: Original, name: str) -> Trial:
    """Return the exact recipe of a backend, built, scored and judged."""
    trial = Trial(next(recipe for recipe in registry.load(name).recipes(ctx.model) if recipe.exact))
    parity.build_and_score(ctx, original, trial)
    parity.parity_check(ctx, original, trial, [trial], requirements.load({}, ()))
    return trial


def conversion(trial: Trial) -> Conversion:
    """Return the result of a judged trial."""
    assert trial.conversion, trial.error
    return trial.conversion

"""Check a backend with a short inference: build its exact recipe of a tiny model, open it, generate a few tokens."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from edgehone.backends import registry
from edgehone.backends.base import Recipe, ReferenceBackend
from edgehone.backends.capabilities import require
from edgehone.backends.null import backend as null
from edgehone.core.errors import SetupError
from edgehone.core.events import silent
from edgehone.execution.environments import environment
from edgehone.execution.executor import LocalExecutor
from edgehone.execution.foreground import run_foreground
from edgehone.execution.home import home
from edgehone.execution.job import Input, Job, Limits
from edgehone.inputs import workload
from edgehone.inputs.texts import shipped
from edgehone.model import digest
from edgehone.model.demo import demo_model
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.optimize.build import build
from edgehone.optimize.context import ReadyExecutor, RunContext, effort_settings

PROMPT = "The people of"
TOKENS = 8
# Time limit per job; a few megabytes of model never take this long in a working backend.
TIME_LIMIT = Limits(seconds=600)


def selfcheck(name: str, report: Callable[[str], None]) -> dict[str, Any]:
    """Build, open and generate; return the text and the decoding speed in tokens/s.

    Raises SetupError if the environment cannot be installed or the backend does not support the tiny model, JobError if
    a job fails.
    """
    backend = registry.load(name)
    env = environment.ensure(name, backend.NEEDS, report)
    with tempfile.TemporaryDirectory(prefix="edgehone-check-") as folder:
        model = inspect(_tiny_model(name, Path(folder)))
        support = backend.supports(model)
        if not support.ok:
            raise SetupError(
                f"{name} does not support the tiny model: {'; '.join(support.reasons)}",
                hint="edgehone inspect MODEL",
            )
        recipe = _recipe(name, model)
        report(f"building {recipe.key} of a tiny model")
        site = ReadyExecutor(LocalExecutor(), {name: env}, TIME_LIMIT)
        ctx = RunContext(
            model=model,
            source=Input(model.path, digest.digest_model(model, home() / "digests")),
            build_executor=site,
            target_executor=site,
            workload=workload.load(),
            effort=effort_settings("quick"),
            backends={name: backend},
            reference_backend=cast(ReferenceBackend, backend),
            emit=silent,
        )
        artifact = build(ctx, recipe)
        module = registry.module_name(name)
        args = {
            "backend": module,
            "settings": dict(recipe.settings),
            "prompt": PROMPT,
            "max_tokens": TOKENS,
            "eos": [],
        }
        job = Job(
            "edgehone.worker.generate:generate",
            env,
            args,
            {"artifact": Input.of(artifact)},
            threads=ctx.device.threads,
            backend=module,
        )
        facts = run_foreground(job, quiet=True)
    if facts["tokens"] != TOKENS:
        raise SetupError(
            f"{name} generated {facts['tokens']} of {TOKENS} tokens", hint=f"edgehone backends install {name}"
        )
    return {"text": PROMPT + facts["text"], "decode_tokens_per_s": facts["decode_tokens_per_s"]}


def _tiny_model(name: str, folder: Path) -> Path:
    if name == null.NAME:
        return null.make_model(folder / "null-model", shipped("calibration").read_text("utf-8"))
    return demo_model()


def _recipe(name: str, model: ModelInfo) -> Recipe:
    """Return the exact recipe, or the original's for a backend that only runs originals."""
    backend = registry.load(name)
    exact = [recipe for recipe in backend.recipes(model) if recipe.exact]
    return exact[0] if exact else require(backend, ReferenceBackend).original(model)

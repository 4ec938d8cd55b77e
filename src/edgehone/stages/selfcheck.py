"""Check a backend for real: build its exact recipe of a tiny model, open it, generate a few tokens."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from edgehone.backends import null, registry
from edgehone.backends.base import Recipe, ReferenceBackend
from edgehone.errors import SetupError
from edgehone.events import silent
from edgehone.jobs import environments
from edgehone.jobs.foreground import run_foreground
from edgehone.jobs.home import home
from edgehone.jobs.place import Here
from edgehone.jobs.run import Input, Job, Limits
from edgehone.measure import workload
from edgehone.measure.texts import shipped
from edgehone.model import ModelInfo, digest, inspect
from edgehone.model.demo import demo_model
from edgehone.stages.bench import Bench, Site, depth
from edgehone.stages.build import build

PROMPT = "The people of"
TOKENS = 8
# A backend that takes longer than this for a model of a few megabytes is as good as broken.
PATIENCE = Limits(seconds=600)


def selfcheck(name: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """Build, open, generate; returns the text and tokens/s.

    Raises SetupError if the environment can't be made or the backend takes no tiny model, JobError if a job fails.
    """
    backend = registry.load(name)
    env = environments.ensure(name, backend.NEEDS, tell)
    with tempfile.TemporaryDirectory(prefix="edgehone-check-") as place:
        model = inspect(_tiny_model(name, Path(place)))
        support = backend.supports(model)
        if not support.ok:
            raise SetupError(
                f"{name} takes no tiny model: {'; '.join(support.reasons)}", hint="edgehone inspect MODEL"
            )
        recipe = _recipe(name, model)
        tell(f"building {recipe.key} of a tiny model")
        site = Site(Here(), {name: env}, PATIENCE)
        bench = Bench(
            model=model,
            source=Input(model.path, digest.digest_model(model, home() / "digests")),
            workshop=site,
            stand=site,
            workload=workload.load(),
            depth=depth("quick"),
            backends={name: backend},
            origin=cast(ReferenceBackend, backend),
            emit=silent,
        )
        artifact = build(bench, recipe)
        module = registry.module_name(name)
        args = {
            "backend": module,
            "settings": dict(recipe.settings),
            "prompt": PROMPT,
            "max_tokens": TOKENS,
            "eos": [],
        }
        job = Job(
            "edgehone.stages.generate:generate",
            env,
            args,
            {"artifact": Input.of(artifact)},
            threads=bench.device.threads,
            backend=module,
        )
        facts = run_foreground(job, quiet=True)
    if facts["tokens"] != TOKENS:
        raise SetupError(
            f"{name} made {facts['tokens']} tokens of {TOKENS}", hint=f"edgehone backends install {name}"
        )
    return {"text": PROMPT + facts["text"], "decode_tokens_per_s": facts["decode_tokens_per_s"]}


def _tiny_model(name: str, place: Path) -> Path:
    if name == null.NAME:
        return null.make_model(place / "null-model", shipped("calibration").read_text("utf-8"))
    return demo_model()


def _recipe(name: str, model: ModelInfo) -> Recipe:
    """The exact recipe, or the original of a backend that only runs that."""
    backend = registry.load(name)
    exact = [recipe for recipe in backend.recipes(model) if recipe.exact]
    return exact[0] if exact else cast(ReferenceBackend, backend).original(model)

"""Ask a packaged language model for the canaries of its bundle: it must give the proven artifact's own answers.

It runs in the environment of its backend, where that is installed, from the place in the package where it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.bundle.read import read
from edgehone.bundle.schema import Manifest
from edgehone.core.errors import EdgehoneError
from edgehone.device.detect import detect
from edgehone.execution.environments import environment
from edgehone.execution.foreground import run_foreground
from edgehone.execution.job import Input, Job
from edgehone.execution.threads import threads_of
from edgehone.package.document import DOCUMENTS
from edgehone.package.target import Check
from edgehone.serve.proof import Proof, comparing


@dataclass(frozen=True)
class Answering:
    """A worker function that answers prompts, the paths that it reads, and arguments besides those of `_job`.

    It returns `answers`: lists of ids, which end before the first of `eos`.
    """

    call: str
    inputs: Mapping[str, Path]
    args: Mapping[str, Any] = field(default_factory=dict)


def check_answers(name: str, folder: Path, answering: Answering) -> Check:
    """Check a staged package, whose folder `bundle` has the manifest. Skipped if that has no canaries of texts, or the
    backend's environment is not installed."""
    manifest = read(folder / DOCUMENTS).manifest
    canaries = [one for one in manifest.canaries if "picture" not in one]
    if not canaries:
        return Check(name, "skipped", "the bundle has no canaries")
    backend = manifest.recipe["backend"]
    try:
        env = environment.installed(backend, registry.load(backend).NEEDS)
        if env is None:
            reason = f"the environment of {backend} is not installed: edgehone backends install {backend}"
            return Check(name, "skipped", reason)
        proof = _prove(manifest, canaries, answering, env)
    except EdgehoneError as error:
        return Check(name, "failed", error.message)
    return Check(name, "passed" if proof.holds else "failed", str(proof))


def _prove(
    manifest: Manifest, canaries: Sequence[Mapping[str, Any]], answering: Answering, env: environment.Env
) -> Proof:
    """Ask as `edgehone serve` asks its engine (`serve.proof`), a job for all questions that can be asked together."""
    comparison = comparing([one["answer"] for one in canaries])
    asked = next(comparison)
    while True:
        begun = [
            [*canaries[one.canary]["prompt"], *canaries[one.canary]["answer"][: one.after]] for one in asked
        ]
        most = max(len(canaries[one.canary]["answer"]) - one.after for one in asked)
        try:
            asked = comparison.send(_answers(_job(manifest, begun, most, answering, env)))
        except StopIteration as done:
            found: Proof = done.value
            return found


def _answers(job: Job) -> list[Sequence[int]]:
    answers: list[Sequence[int]] = run_foreground(job, quiet=True)["answers"]
    return answers


def _job(
    manifest: Manifest,
    prompts: Sequence[Sequence[int]],
    count: int,
    answering: Answering,
    env: environment.Env,
) -> Job:
    settings = manifest.recipe["settings"]
    module = registry.module_name(manifest.recipe["backend"])
    args = {
        "backend": module,
        "settings": settings,
        "prompts": prompts,
        "count": count,
        "eos": list(manifest.eos),
    }
    inputs = {name: Input(path.resolve(), "") for name, path in answering.inputs.items()}
    threads = threads_of(settings, detect())
    return Job(answering.call, env, {**args, **answering.args}, inputs, threads=threads, backend=module)

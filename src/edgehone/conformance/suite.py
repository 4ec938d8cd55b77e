"""Run all checks for one backend, each after those it depends on."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Recipe, Step
from edgehone.backends.capabilities import GraphBackend, capability
from edgehone.conformance import module_checks
from edgehone.conformance.models import tiny_graphs, tiny_models
from edgehone.conformance.subject import Subject
from edgehone.core.errors import EdgehoneError, InputError, JobError, SetupError
from edgehone.device.detect import detect
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.execution.home import home
from edgehone.execution.job import Input, Job, Limits
from edgehone.execution.run import run
from edgehone.execution.store import JobResult
from edgehone.inputs.texts import shipped
from edgehone.model import digest
from edgehone.model.info import Kind, ModelInfo
from edgehone.optimize.context_setup import reference_backend_for
from edgehone.worker.conformance import run_checks
from edgehone.worker.conformance.outcome import Check, Outcome, outcome, perform

# Time limit per job; jobs with a model of a few megabytes take this long only if they hang.
TIME_LIMIT = Limits(seconds=600)
# Token ids in each of two disjoint windows of the evaluation text.
WINDOW = 48


@dataclass
class _Jobs:
    """The jobs of one run of the suite. Each is run anew, and its results are deleted when the suite ends."""

    backend: str
    env: Env
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex)
    results: list[JobResult] = field(default_factory=list)

    def run(self, call: str, args: dict[str, Any], inputs: dict[str, Input], **also: Any) -> JobResult:
        """Run a job in the backend's environment."""
        job = Job(
            call,
            self.env,
            args,
            inputs,
            threads=detect().threads,
            backend=registry.module_name(self.backend),
            also={"conformance": self.nonce, **also},
            limits=TIME_LIMIT,
        )
        self.results.append(run(job))
        return self.results[-1]

    def build(self, step: Step, sources: dict[str, Input], reached: list[str], number: int) -> JobResult:
        """Run a step after its inputs. Hosts that it tried to reach are appended to `reached`."""
        inputs = {name: sources[name] for name in step.reads}
        inputs |= {n: Input.of(self.build(s, sources, reached, number)) for n, s in step.inputs.items()}
        args = {"call": step.call, "params": dict(step.params)}
        result = self.run("edgehone.worker.conformance.run_checks:step", args, inputs, build=number)
        reached += result.facts["reached"]
        return result


def conform(
    name: str, report: Callable[[str], None] = lambda what: None, only: Collection[str] | None = None
) -> list[Outcome]:
    """Run all checks, or those in `only`, for a backend; return their outcomes.

    Raises InputError for an unknown backend or check. Errors of the backend are outcomes.
    """
    target = registry.module_name(name)
    wanted = _wanted(only)
    core = [check for check in module_checks.CHECKS if check.__name__ in wanted]
    try:
        backend = registry.load(name)
    except SetupError as error:
        first, *rest = core or module_checks.CHECKS
        skipped = [outcome(check, "skip", "the module is not a backend") for check in rest]
        return [outcome(first, "fail", error.message), *skipped]
    with tempfile.TemporaryDirectory(prefix="edgehone-conform-") as folder:
        languages, graphs = tuple(tiny_models(Path(folder))), tuple(tiny_graphs(Path(folder)))
        subject = Subject(name, target, backend, (*languages, *graphs), progress=report)
        outcomes = [perform(check, subject) for check in core]
        outcomes += _worker_checks(subject, "language", languages, wanted, report)
        if capability(backend, GraphBackend):
            outcomes += _worker_checks(subject, "graph", graphs, wanted, report)
    return outcomes


def names() -> list[str]:
    """Return the names of all checks, in order."""
    every = [*module_checks.CHECKS, *run_checks.checks("language"), *run_checks.checks("graph")]
    return list(dict.fromkeys(check.__name__ for check in every))


def _wanted(only: Collection[str] | None) -> set[str]:
    known = names()
    for name in only or ():
        if name not in known:
            raise InputError(f"no check is called '{name}'", hint=f"checks: {', '.join(known)}")
    return set(only) if only is not None else set(known)


def _worker_checks(
    subject: Subject,
    kind: Kind,
    models: Sequence[ModelInfo],
    wanted: set[str],
    report: Callable[[str], None],
) -> list[Outcome]:
    """Run the checks of an artifact. They are skipped, with the reason, if none can be built."""
    checks = [check for check in run_checks.checks(kind) if check.__name__ in wanted]
    if not checks:
        return []
    try:
        with _jobs_of(subject) as jobs:
            model, recipe = _exact(subject, kind, models)
            report(f"building {recipe.key} of {model.path.name}, twice")
            args, inputs = _build_twice(subject, jobs, model, recipe)
            report(f"{len(checks)} checks of the artifact")
            return _observe(jobs, args, inputs, checks, report)
    except _NotBuildable as reason:
        return [outcome(check, "skip", str(reason)) for check in checks]
    except EdgehoneError as error:
        first, *rest = checks
        log = f" (log: {error.log})" if isinstance(error, JobError) and error.log else ""
        why = f"the exact recipe cannot be built: {error.message}"
        return [outcome(first, "fail", why + log), *(outcome(check, "skip", why) for check in rest)]


class _NotBuildable(Exception):
    """No artifact can be built; the message is the reason."""


@contextmanager
def _jobs_of(subject: Subject) -> Iterator[_Jobs]:
    if subject.env is None:
        try:
            subject.env = environment.ensure(subject.name, subject.backend.NEEDS, subject.progress)
        except SetupError as error:
            raise _NotBuildable(f"no environment: {error.message}") from error
    jobs = _Jobs(subject.name, subject.env)
    try:
        yield jobs
    finally:
        for result in jobs.results:
            shutil.rmtree(result.folder, ignore_errors=True)


def _exact(subject: Subject, kind: Kind, models: Sequence[ModelInfo]) -> tuple[ModelInfo, Recipe]:
    """Return the first model that the backend supports, and its exact recipe."""
    if not models:
        raise _NotBuildable(f"there is no tiny {kind} model")
    try:
        for model in models:
            if subject.backend.supports(model).ok:
                return model, next(r for r in subject.backend.recipes(model) if r.exact)
    except Exception as error:  # the module's checks report what is wrong
        raise _NotBuildable(f"no recipe to build: {type(error).__name__}: {error}") from error
    raise _NotBuildable(
        f"it supports none of the available {kind} models: {', '.join(m.path.name for m in models)}"
    )


def _build_twice(
    subject: Subject, jobs: _Jobs, model: ModelInfo, recipe: Recipe
) -> tuple[dict[str, Any], dict[str, Input]]:
    """Build the recipe twice; return arguments and inputs of the job that checks both artifacts."""
    source = Input(model.path.resolve(), digest.digest_model(model, home() / "digests"))
    info = model.to_json()
    sources, facts = {"model": source}, {"inputs": info["inputs"], "outputs": info["outputs"]}
    if model.kind == "language":
        facts |= _tokens(model, source, sources)
    reached: list[str] = []
    step = subject.backend.steps(recipe)
    artifact, again = (Input.of(jobs.build(step, sources, reached, number)) for number in (1, 2))
    facts["quantized"] = _quantized(subject, jobs, model, sources)
    args = {
        "backend": subject.target,
        "settings": dict(recipe.settings),
        "kind": model.kind,
        "facts": {**facts, "reached": reached},
    }
    return args, {"artifact": artifact, "again": again}


def _quantized(
    subject: Subject, jobs: _Jobs, model: ModelInfo, sources: dict[str, Input]
) -> dict[str, Any] | None:
    """Build the first recipe that promises quantized weights and needs no calibration; return what it did, if any."""
    recipe = next((r for r in subject.backend.recipes(model) if r.quantizes and not r.calibrated), None)
    if recipe is None:
        return None
    try:
        built = jobs.build(subject.backend.steps(recipe), sources, [], 1)
    except JobError as error:
        return {"recipe": recipe.name, "error": error.message}
    return {"recipe": recipe.name, "share": built.facts["facts"].get("quantized_share")}


def _observe(
    jobs: _Jobs,
    args: dict[str, Any],
    inputs: dict[str, Input],
    checks: Sequence[Check],
    report: Callable[[str], None],
) -> list[Outcome]:
    """Run all checks in one job, or each in its own job if one of them ends the process."""

    def observe(some: Sequence[Check]) -> list[Outcome]:
        names = [check.__name__ for check in some]
        done = jobs.run("edgehone.worker.conformance.run_checks:observe", {**args, "checks": names}, inputs)
        return [Outcome(**one) for one in done.facts["outcomes"]]

    try:
        return observe(checks)
    except JobError as error:
        report(f"{error.message}; running each check in its own process")
        return [_alone(observe, check) for check in checks]


def _alone(observe: Callable[[Sequence[Check]], list[Outcome]], check: Check) -> Outcome:
    try:
        (result,) = observe([check])
    except JobError as error:
        return outcome(check, "fail", f"{error.message}" + (f" (log: {error.log})" if error.log else ""))
    return result


def _tokens(model: ModelInfo, source: Input, sources: dict[str, Input]) -> dict[str, Any]:
    """Return ids from the original's tokenizer. Adds the calibration, for steps that read one, to `sources`."""
    import json

    origin = reference_backend_for(model)
    env = environment.ensure(origin.NAME, origin.NEEDS, lambda what: None)
    module = registry.module_name(origin.NAME)
    texts = {name: shipped(name) for name in ("evaluation", "calibration")}
    inputs = {name: Input(path, digest.digest_file(path)) for name, path in texts.items()}
    done = run(
        Job(
            "edgehone.worker.prepare:prepare",
            env,
            {"backend": module},
            {"model": source, **inputs},
            backend=module,
            limits=TIME_LIMIT,
        )
    )
    sources["calibration"] = Input(done.out / "calibration", f"{done.identity}/calibration")
    ids = json.loads((done.out / "evaluation.json").read_text("utf-8"))["ids"]
    parity = json.loads((done.out / "parity.json").read_text("utf-8"))
    bos = done.facts["bos"]
    return {
        "sample": next(one["ids"] for one in parity if one["kind"] == "plain"),
        "one": bos + ids[:WINDOW],
        "other": bos + ids[WINDOW : 2 * WINDOW],
        "vocabulary": model.vocabulary or done.facts["vocabulary"],
    }

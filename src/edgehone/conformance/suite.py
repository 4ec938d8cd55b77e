"""The suite: every check for one backend, in the order in which one builds on another."""

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
from edgehone.optimize.setup import origin_of
from edgehone.worker.conformance import run_checks
from edgehone.worker.conformance.outcome import Check, Outcome, outcome, perform

# A model of a few megabytes that takes longer than this hangs.
PATIENCE = Limits(seconds=600)
# Ids of the evaluation text: two windows that share none.
WINDOW = 48


@dataclass
class _Rig:
    """Where the jobs of one run of the suite go: each is done afresh, and gone when the suite ends."""

    backend: str
    env: Env
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex)
    made: list[JobResult] = field(default_factory=list)

    def run(self, call: str, args: dict[str, Any], inputs: dict[str, Input], **also: Any) -> JobResult:
        """One job in the backend's environment."""
        job = Job(
            call,
            self.env,
            args,
            inputs,
            threads=detect().threads,
            backend=registry.module_name(self.backend),
            also={"conformance": self.nonce, **also},
            limits=PATIENCE,
        )
        self.made.append(run(job))
        return self.made[-1]

    def build(self, step: Step, given: dict[str, Input], reached: list[str], number: int) -> JobResult:
        """The folder of a step, after all that it needs; `reached` gets what was asked of the network."""
        inputs = {name: given[name] for name in step.reads}
        inputs |= {n: Input.of(self.build(s, given, reached, number)) for n, s in step.inputs.items()}
        args = {"call": step.call, "params": dict(step.params)}
        made = self.run("edgehone.worker.conformance.run_checks:step", args, inputs, build=number)
        reached += made.facts["reached"]
        return made


def conform(
    name: str, tell: Callable[[str], None] = lambda what: None, only: Collection[str] | None = None
) -> list[Outcome]:
    """Every check's outcome for a backend, or those of the checks in `only`.

    Raises InputError for an unknown backend or check. What the backend itself does wrong is an outcome.
    """
    target = registry.module_name(name)
    wanted = _wanted(only)
    core = [check for check in module_checks.CHECKS if check.__name__ in wanted]
    try:
        backend = registry.load(name)
    except SetupError as error:
        first, *rest = core or module_checks.CHECKS
        lost = [outcome(check, "skip", "the module is not a backend") for check in rest]
        return [outcome(first, "fail", error.message), *lost]
    with tempfile.TemporaryDirectory(prefix="edgehone-conform-") as place:
        languages, graphs = tuple(tiny_models(Path(place))), tuple(tiny_graphs(Path(place)))
        subject = Subject(name, target, backend, (*languages, *graphs), told=_Told(tell))
        found = [perform(check, subject) for check in core]
        found += _worker_checks(subject, "language", languages, wanted, tell)
        if capability(backend, GraphBackend):
            found += _worker_checks(subject, "graph", graphs, wanted, tell)
    return found


class _Told(list[str]):
    """A list whose lines are told as they come."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def append(self, what: str) -> None:
        """Keep and tell."""
        super().append(what)
        self._tell(what)


def names() -> list[str]:
    """The names of all checks, in their order."""
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
    tell: Callable[[str], None],
) -> list[Outcome]:
    """The checks of what is built; skipped, with the reason, where nothing can be."""
    checks = [check for check in run_checks.checks(kind) if check.__name__ in wanted]
    if not checks:
        return []
    try:
        with _rig(subject) as rig:
            model, recipe = _exact(subject, kind, models)
            tell(f"building {recipe.key} of {model.path.name}, twice")
            args, inputs = _build_twice(subject, rig, model, recipe)
            tell(f"{len(checks)} checks of the build")
            return _observe(rig, args, inputs, checks, tell)
    except _NoneToBuild as reason:
        return [outcome(check, "skip", str(reason)) for check in checks]
    except EdgehoneError as error:
        first, *rest = checks
        log = f" (log: {error.log})" if isinstance(error, JobError) and error.log else ""
        why = f"the exact recipe cannot be built: {error.message}"
        return [outcome(first, "fail", why + log), *(outcome(check, "skip", why) for check in rest)]


class _NoneToBuild(Exception):
    """Nothing can be built here, and why."""


@contextmanager
def _rig(subject: Subject) -> Iterator[_Rig]:
    if subject.env is None:
        try:
            subject.env = environment.ensure(subject.name, subject.backend.NEEDS, subject.told.append)
        except SetupError as error:
            raise _NoneToBuild(f"no environment: {error.message}") from error
    rig = _Rig(subject.name, subject.env)
    try:
        yield rig
    finally:
        for result in rig.made:
            shutil.rmtree(result.folder, ignore_errors=True)


def _exact(subject: Subject, kind: Kind, models: Sequence[ModelInfo]) -> tuple[ModelInfo, Recipe]:
    """The first model that it takes, and the exact recipe."""
    if not models:
        raise _NoneToBuild(f"no tiny {kind} model is at hand")
    try:
        for model in models:
            if subject.backend.supports(model).ok:
                return model, next(r for r in subject.backend.recipes(model) if r.exact)
    except Exception as error:  # the module's own checks tell what is wrong there
        raise _NoneToBuild(f"no recipe to build: {type(error).__name__}: {error}") from error
    raise _NoneToBuild(
        f"it takes none of the {kind} models at hand: {', '.join(m.path.name for m in models)}"
    )


def _build_twice(
    subject: Subject, rig: _Rig, model: ModelInfo, recipe: Recipe
) -> tuple[dict[str, Any], dict[str, Input]]:
    """Arguments and inputs of the job that looks at the two builds."""
    source = Input(model.path.resolve(), digest.digest_model(model, home() / "digests"))
    told = model.to_json()
    given, facts = {"model": source}, {"inputs": told["inputs"], "outputs": told["outputs"]}
    if model.kind == "language":
        facts |= _tokens(model, source, given)
    reached: list[str] = []
    step = subject.backend.steps(recipe)
    artifact, again = (Input.of(rig.build(step, given, reached, number)) for number in (1, 2))
    args = {
        "backend": subject.target,
        "settings": dict(recipe.settings),
        "kind": model.kind,
        "facts": {**facts, "reached": reached},
    }
    return args, {"artifact": artifact, "again": again}


def _observe(
    rig: _Rig,
    args: dict[str, Any],
    inputs: dict[str, Input],
    checks: Sequence[Check],
    tell: Callable[[str], None],
) -> list[Outcome]:
    """All checks in one job; each by itself where one of them ended the process."""

    def observe(some: Sequence[Check]) -> list[Outcome]:
        names = [check.__name__ for check in some]
        done = rig.run("edgehone.worker.conformance.run_checks:observe", {**args, "checks": names}, inputs)
        return [Outcome(**one) for one in done.facts["outcomes"]]

    try:
        return observe(checks)
    except JobError as error:
        tell(f"{error.message}; running each check by itself")
        return [_alone(observe, check) for check in checks]


def _alone(observe: Callable[[Sequence[Check]], list[Outcome]], check: Check) -> Outcome:
    try:
        (found,) = observe([check])
    except JobError as error:
        return outcome(check, "fail", f"{error.message}" + (f" (log: {error.log})" if error.log else ""))
    return found


def _tokens(model: ModelInfo, source: Input, given: dict[str, Input]) -> dict[str, Any]:
    """What the original's own tokenizer gives; a calibration for builds that read one goes into `given`."""
    import json

    origin = origin_of(model)
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
            limits=PATIENCE,
        )
    )
    given["calibration"] = Input(done.out / "calibration", f"{done.identity}/calibration")
    ids = json.loads((done.out / "evaluation.json").read_text("utf-8"))["ids"]
    bos = done.facts["bos"]
    return {
        "sample": json.loads((done.out / "sample.json").read_text("utf-8")),
        "one": bos + ids[:WINDOW],
        "other": bos + ids[WINDOW : 2 * WINDOW],
        "vocabulary": model.vocabulary or done.facts["vocabulary"],
    }

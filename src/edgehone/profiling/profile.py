"""Profile a bundle: start it cold, start it warm, run its workload while sampling it, then time its operators.

The bundle's artifact runs in its backend's environment, with nothing else of edgehone on the machine, under its own
workload. It is sampled from outside (`watch.py`). Operator times come from the framework's own profiler, which slows
the process down, so they are taken in a separate pass.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends import registry
from edgehone.backends.capabilities import OperatorProfiler, capability
from edgehone.backends.sessions import (
    OperatorTime,
)
from edgehone.bundle.read import Bundle, read
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError, JobError
from edgehone.core.figure import Figure
from edgehone.device.bandwidth import read_bandwidth
from edgehone.device.detect import detect
from edgehone.device.facts import Device
from edgehone.execution import store
from edgehone.execution.environments import environment
from edgehone.execution.home import home
from edgehone.execution.job import Input, Job
from edgehone.execution.run import run
from edgehone.execution.store import JobResult
from edgehone.execution.threads import (
    threads_of,
)
from edgehone.execution.watch import Watch
from edgehone.inputs import sample_arrays, samples, texts
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.model import digest
from edgehone.profiling import bottlenecks, figures
from edgehone.profiling.figures import Observation
from edgehone.profiling.result import Profile
from edgehone.profiling.watch import SystemWatch
from edgehone.worker.profile_workload import slices_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OnProgress = Callable[[str], None]
MIN_SECONDS = 1.0
MAX_CLIENTS = 1024
# Generated tokens over which operators are timed: every token is the same work.
OPERATOR_TOKENS = 16


def profile(
    path: str | Path,
    *,
    seconds: float = 60.0,
    concurrency: int | None = None,
    samples_file: str | Path | None = None,
    operators: bool = True,
    on_progress: OnProgress = lambda detail: None,
    watch: Callable[[], SystemWatch] = SystemWatch,
) -> Profile:
    """Profile a bundle for `seconds` with `concurrency` concurrent clients (None: as in its workload).

    A graph is run on the samples of `samples_file` (npz). If the process fails, the profile has `error`, `log` and
    everything sampled until then. Raises InputError for a bundle or values that cannot be profiled.
    """
    bundle = read(path)
    if not seconds >= MIN_SECONDS:
        raise InputError(
            f"a profile of {seconds:g} s is too short", hint=f"give --duration {MIN_SECONDS:.0f}s or more"
        )
    clients = int(bundle.decision.workload.get("concurrency", 1)) if concurrency is None else concurrency
    if not 1 <= clients <= MAX_CLIENTS:
        raise InputError(f"--concurrency is {clients}", hint=f"give --concurrency 1 to {MAX_CLIENTS}")
    with _subject(bundle, samples_file, clients, on_progress) as subject:
        main_pass = _MainPass(subject, seconds, watch())
        main_pass.start(on_progress)
        main_pass.run_workload(on_progress)
        result = main_pass.result(bundle)
        if operators and result.error is None:
            result = _with_operators(result, subject, on_progress)
    return result


@dataclass
class _Subject:
    """The profiled bundle: its job, without a call yet, and the arguments of its requests."""

    bundle: Bundle
    backend: str
    job: Job
    request: Mapping[str, Any]
    machine: Device
    clients: int
    notes: list[str] = field(default_factory=list)

    def run(self, call: str, watch: Callable[[], Watch] = Watch, **args: Any) -> JobResult:
        """Run one job exclusively, never reusing an earlier result."""
        also = {"device": self.machine.fingerprint, "measurement_group": uuid.uuid4().hex}
        args = {**self.job.args, **self.request, **args}
        return run(replace(self.job, call=call, args=args, exclusive=True, also=also, watch=watch))


@contextmanager
def _subject(
    bundle: Bundle, samples_file: str | Path | None, clients: int, on_progress: OnProgress
) -> Iterator[_Subject]:
    recipe = bundle.manifest.recipe
    name = recipe["backend"]
    env = environment.ensure(name, registry.load(name).NEEDS, on_progress)
    module = registry.module_name(name)
    machine = detect()
    files = {k: v for k, v in bundle.manifest.files.items() if k.startswith("artifact/")}
    artifact = Input(bundle.artifact.resolve(), store.key_of(files))
    args = {"backend": module, "settings": recipe["settings"]}
    threads = threads_of(recipe["settings"], machine)
    job = Job("", env, args, {"artifact": artifact}, threads=threads, backend=module)
    subject = _Subject(bundle, name, job, {}, machine, clients, _notes(bundle, env.versions))
    if bundle.manifest.kind == "language":
        if samples_file is not None:
            raise InputError(f"{bundle.path} generates text and takes no samples", hint="leave --input out")
        subject.request = _generation(subject, on_progress)
        yield subject
        return
    with tempfile.TemporaryDirectory(prefix="edgehone-") as folder:
        arrays = _samples(bundle, samples_file, Path(folder))
        subject.job = replace(job, inputs={**job.inputs, "samples": arrays})
        subject.request = _batches(subject)
        yield subject


def _notes(bundle: Bundle, versions: Mapping[str, str]) -> list[str]:
    drifted = bundle.drifted(versions)
    if not drifted:
        return []
    return [f"installed packages differ from those the bundle was proven with: {', '.join(drifted)}"]


def _generation(subject: _Subject, on_progress: OnProgress) -> dict[str, Any]:
    """Return the arguments of the workload's requests: prompt ids from the shipped text, and tokens to generate."""
    work = subject.bundle.decision.workload
    on_progress("tokenizing the prompt")
    text = texts.shipped("evaluation")
    batch = int(work["batch"])
    job = replace(
        subject.job,
        call="edgehone.worker.profile_workload:prompts",
        args={**subject.job.args, "count": work["prompt_tokens"], "prompts": batch * subject.clients},
        inputs={**subject.job.inputs, "text": Input(text, digest.digest_file(text))},
    )
    prompts = run(job).facts["prompts"]
    if batch * subject.clients == 1:
        return {"prompt": prompts[0], "generated": work["generated_tokens"]}
    load = {"batch": batch, "clients": subject.clients}
    return {"prompts": prompts, "generated": work["generated_tokens"], **load}


def _batches(subject: _Subject) -> dict[str, Any]:
    """Return the arguments of a graph's requests: batch size, and clients or the frame rate of a stream."""
    batch, work = subject.bundle.manifest.batch, subject.bundle.decision.workload
    if subject.clients > 1:
        return {"batch": batch, "clients": subject.clients}
    if work.get("frames_per_s"):
        return {"batch": batch, "frames_per_s": work["frames_per_s"], "deadline_ms": work["deadline_ms"]}
    return {"batch": batch}


def _samples(bundle: Bundle, samples_file: str | Path | None, folder: Path) -> Input:
    """Check the user's arrays, cast them to the graph's input types, and write them to a job input folder."""
    if samples_file is None:
        raise InputError(
            f"{bundle.path} is a graph and needs samples",
            hint=f"edgehone profile {bundle.path} --input SAMPLES.npz",
        )
    path = Path(samples_file)
    if not path.is_file():
        raise InputError(
            why_absent(path, f"no such file: {path}"), hint="give FILE.npz with an array for each input"
        )
    tensors = [samples.tensor(one) for one in bundle.manifest.inputs]
    arrays = samples.read_arrays(path)
    arrays.pop(sample_arrays.LABELS, None)
    axes = Axes.from_json(bundle.manifest.axes)
    sample_arrays.check_arrays(arrays, tensors, str(path), axes, least=1)
    Batches.arranged(sample_arrays.typed(arrays, tensors), axes).write(folder)
    return Input(folder, digest.digest_file(path))


class _MainPass:
    """The sampled part of a profile: the results of its jobs, or the error of the one that failed."""

    def __init__(self, subject: _Subject, seconds: float, watch: SystemWatch) -> None:
        self._subject, self._seconds, self._watch = subject, seconds, watch
        self._starts: dict[str, Mapping[str, Any]] = {}
        self._done: JobResult | None = None
        self._error: JobError | None = None

    def start(self, on_progress: OnProgress) -> None:
        """Start the bundle twice: cold, with its files dropped from the page cache, and warm."""
        for name, cold in (("cold", True), ("warm", False)):
            on_progress(f"{name} start")
            try:
                self._starts[name] = self._subject.run(
                    "edgehone.worker.profile_workload:start", cold=cold
                ).facts
            except JobError as error:
                self._error = error
                return

    def run_workload(self, on_progress: OnProgress) -> None:
        """Run the workload for the given seconds while sampling the process."""
        if self._error is not None:
            return
        on_progress(f"running the workload for {self._seconds:.0f} s, sampled from outside")
        try:
            self._done = self._subject.run(
                "edgehone.worker.profile_workload:answer", watch=lambda: self._watch, seconds=self._seconds
            )
        except JobError as error:
            self._error = error

    def result(self, bundle: Bundle) -> Profile:
        """Return the profile from everything sampled."""
        log = self._error.log if self._error else None
        text = log or (self._done.folder / "log.txt" if self._done else None)
        slices = slices_of(text.read_text("utf-8", "replace")) if text and text.is_file() else []
        begun, ended = self._span(slices)
        observed = self._observation(slices, begun, ended)
        found = {
            **figures.figures(observed),
            **figures.start_figures(self._starts.get("cold"), self._starts.get("warm")),
        }
        found["bandwidth_share"] = self._bandwidth_share(found["decode_tokens_per_s"])
        recipe = bundle.manifest.recipe
        return Profile(
            bundle=str(bundle.path),
            candidate=f"{recipe['backend']}/{recipe['name']}",
            device=self._subject.machine.to_json(),
            workload=bundle.decision.workload,
            seconds=self._seconds,
            concurrency=self._subject.clients,
            figures=found,
            bottlenecks=bottlenecks.judge(found),
            timeline=figures.timeline(self._watch.samples, begun),
            slices=tuple({**one, "from": one["from"] - begun, "to": one["to"] - begun} for one in slices),
            operators_reason="the profile failed" if self._error else "not requested",
            notes=tuple(self._subject.notes),
            error=self._error.message if self._error else None,
            log=str(log) if log else None,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _span(self, slices: Sequence[Mapping[str, float]]) -> tuple[float, float]:
        if self._done is not None:
            return self._done.facts["begun"], self._done.facts["ended"]
        if slices:
            return slices[0]["from"], slices[-1]["to"]
        last = self._watch.samples[-1].at if self._watch.samples else 0.0
        return last, last

    def _observation(self, slices: Sequence[Mapping[str, float]], begun: float, ended: float) -> Observation:
        import numpy as np

        latencies: list[float] = []
        ttfts: list[float] = []
        if self._done is not None:
            latencies, ttfts = (
                np.load(self._done.out / name).tolist() for name in ("latencies.npy", "ttfts.npy")
            )
        else:
            # If the process died, only the mean of each slice is known.
            latencies = [one["mean"] for one in slices for _ in range(int(one["n"]))]
        work = self._subject.bundle.decision.workload
        return Observation(
            latencies,
            ttfts,
            [one for one in self._watch.samples if begun <= one.at <= ended],
            ended - begun,
            self._subject.job.threads,
            self._subject.machine.usable_memory_bytes,
            int(work["generated_tokens"]),
            int(work["batch"]),
            self._watch.reasons,
        )

    def _bandwidth_share(self, decode: Figure) -> Figure:
        machine = self._subject.machine
        if decode.value is None:
            return Figure.missing(str(decode.reason), "share")
        artifact = self._subject.bundle.artifact
        size = sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
        bandwidth = read_bandwidth(machine, home() / "bandwidth")
        return figures.bandwidth_share(size, decode, bandwidth, max(machine.caches.values(), default=None))


def _with_operators(profile: Profile, subject: _Subject, on_progress: OnProgress) -> Profile:
    """Return the profile with operator times, or with the reason why there are none."""
    if capability(registry.load(subject.backend), OperatorProfiler) is None:
        return replace(profile, operators_reason=f"{subject.backend} has no operator profiler")
    on_progress("timing operators in a separate pass")
    request = subject.request
    shorter = {"generated": min(OPERATOR_TOKENS, request["generated"])} if "prompt" in request else {}
    try:
        done = subject.run("edgehone.worker.operator_times:time_operators", **shorter)
    except JobError as error:
        return replace(profile, operators_reason=f"the pass failed: {error.message}")
    rows = tuple(OperatorTime(**one) for one in done.facts["operators"])
    return replace(profile, operators=rows, operators_reason=None)

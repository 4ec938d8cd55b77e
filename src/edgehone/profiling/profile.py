"""The story of a profile: open cold, open warm, answer while being watched, then count operators in a pass of its own.

What is watched is the bundle's artifact in its backend's environment, alone on the machine, asked what its workload
asks. The watching is from outside (`watch`). Operator times come from the framework's own profiler, which slows what
it profiles, so nothing else is read in that pass.
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
from edgehone.inputs import samples, texts
from edgehone.model import digest
from edgehone.profiling import bottlenecks, figures
from edgehone.profiling.figures import Seen
from edgehone.profiling.result import Profile
from edgehone.profiling.watch import SystemWatch
from edgehone.worker.profile_workload import slices_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Tell = Callable[[str], None]
LEAST_SECONDS = 1.0
MOST_CLIENTS = 1024
# Operators are timed over so many generated tokens: each is the same work.
OPERATOR_TOKENS = 16


def profile(
    path: str | Path,
    *,
    seconds: float = 60.0,
    concurrency: int | None = None,
    samples_file: str | Path | None = None,
    operators: bool = True,
    tell: Tell = lambda what: None,
    watch: Callable[[], SystemWatch] = SystemWatch,
) -> Profile:
    """Profile a bundle for so many seconds, asked by `concurrency` clients (as many as its workload has, if None).

    A graph is asked for the samples of `samples_file` (npz). A process that fails half-way gives a profile with
    `error`, `log` and all that was seen until then. Raises InputError for what cannot be profiled.
    """
    bundle = read(path)
    if not seconds >= LEAST_SECONDS:
        raise InputError(
            f"a profile of {seconds:g} s shows nothing", hint=f"give --duration {LEAST_SECONDS:.0f}s or more"
        )
    clients = int(bundle.decision.workload.get("concurrency", 1)) if concurrency is None else concurrency
    if not 1 <= clients <= MOST_CLIENTS:
        raise InputError(f"{clients} clients cannot be", hint=f"give --concurrency 1 to {MOST_CLIENTS}")
    with _asked(bundle, samples_file, clients, tell) as asked:
        pass_ = _Pass(asked, seconds, watch())
        pass_.start(tell)
        pass_.answer(tell)
        made = pass_.result(bundle)
        if operators and made.error is None:
            made = _with_operators(made, asked, tell)
    return made


@dataclass
class _Asked:
    """A bundle's artifact, how it is opened, and what is asked of it."""

    bundle: Bundle
    backend: str
    job: Job  # of no call yet
    request: Mapping[str, Any]
    machine: Device
    clients: int
    notes: list[str] = field(default_factory=list)

    def run(self, call: str, watch: Callable[[], Watch] = Watch, **args: Any) -> JobResult:
        """One job alone on the machine, never taken from the store."""
        also = {"device": self.machine.fingerprint, "occasion": uuid.uuid4().hex}
        made = {**self.job.args, **self.request, **args}
        return run(replace(self.job, call=call, args=made, exclusive=True, also=also, watch=watch))


@contextmanager
def _asked(bundle: Bundle, samples_file: str | Path | None, clients: int, tell: Tell) -> Iterator[_Asked]:
    recipe = bundle.manifest.recipe
    name = recipe["backend"]
    env = environment.ensure(name, registry.load(name).NEEDS, tell)
    module = registry.module_name(name)
    machine = detect()
    files = {k: v for k, v in bundle.manifest.files.items() if k.startswith("artifact/")}
    artifact = Input(bundle.artifact.resolve(), store.key_of(files))
    args = {"backend": module, "settings": recipe["settings"]}
    threads = threads_of(recipe["settings"], machine)
    job = Job("", env, args, {"artifact": artifact}, threads=threads, backend=module)
    asked = _Asked(bundle, name, job, {}, machine, clients, _notes(bundle, env.versions))
    if bundle.manifest.kind == "language":
        if samples_file is not None:
            raise InputError(f"{bundle.path} generates text: it takes no samples", hint="leave --input out")
        asked.request = _generation(asked, tell)
        yield asked
        return
    with tempfile.TemporaryDirectory(prefix="edgehone-") as place:
        given = _samples(bundle, samples_file, Path(place))
        asked.job = replace(job, inputs={**job.inputs, "samples": given})
        asked.request = _batches(asked)
        yield asked


def _notes(bundle: Bundle, versions: Mapping[str, str]) -> list[str]:
    drifted = bundle.drifted(versions)
    return [f"not the packages that the bundle was proven with: {', '.join(drifted)}"] if drifted else []


def _generation(asked: _Asked, tell: Tell) -> dict[str, Any]:
    """The workload's request: so many ids of the shipped text in, so many tokens out."""
    work = asked.bundle.decision.workload
    tell("tokenizing the prompt")
    text = texts.shipped("evaluation")
    batch = int(work["batch"])
    job = replace(
        asked.job,
        call="edgehone.worker.profile_workload:prompts",
        args={**asked.job.args, "count": work["prompt_tokens"], "prompts": batch * asked.clients},
        inputs={**asked.job.inputs, "text": Input(text, digest.digest_file(text))},
    )
    prompts = run(job).facts["prompts"]
    if batch * asked.clients == 1:
        return {"prompt": prompts[0], "generated": work["generated_tokens"]}
    load = {"batch": batch, "clients": asked.clients}
    return {"prompts": prompts, "generated": work["generated_tokens"], **load}


def _batches(asked: _Asked) -> dict[str, Any]:
    """A graph's request: a batch, of each of several clients, or of a stream's frames where the workload is one."""
    batch, work = asked.bundle.manifest.batch, asked.bundle.decision.workload
    if asked.clients > 1:
        return {"batch": batch, "clients": asked.clients}
    if work.get("frames_per_s"):
        return {"batch": batch, "frames_per_s": work["frames_per_s"], "deadline_ms": work["deadline_ms"]}
    return {"batch": batch}


def _samples(bundle: Bundle, given: str | Path | None, place: Path) -> Input:
    """The user's arrays, checked and cast as the graph takes them, in a folder as jobs read them."""
    import numpy as np

    if given is None:
        raise InputError(
            f"{bundle.path} is a graph: what is asked of it must be given",
            hint=f"edgehone profile {bundle.path} --input SAMPLES.npz",
        )
    path = Path(given)
    if not path.is_file():
        raise InputError(f"no such file: {path}", hint="give FILE.npz with an array for each input")
    tensors = [samples.tensor(one) for one in bundle.manifest.inputs]
    arrays = samples.read_arrays(path)
    arrays.pop(samples.LABELS, None)
    samples.check_arrays(arrays, tensors, str(path), least=1)
    dtypes = {one.name: one.dtype for one in tensors}
    arrays = {name: array.astype(dtypes.get(name, array.dtype), copy=False) for name, array in arrays.items()}
    with (place / "samples.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return Input(place, digest.digest_file(path))


class _Pass:
    """The watched part: what each job returned, or why one failed."""

    def __init__(self, asked: _Asked, seconds: float, watch: SystemWatch) -> None:
        self._asked, self._seconds, self._watch = asked, seconds, watch
        self._starts: dict[str, Mapping[str, float]] = {}
        self._done: JobResult | None = None
        self._error: JobError | None = None

    def start(self, tell: Tell) -> None:
        """Open it twice: its files dropped from the page cache, and then from it."""
        for name, cold in (("cold", True), ("warm", False)):
            tell(f"opening it {name}")
            try:
                self._starts[name] = self._asked.run(
                    "edgehone.worker.profile_workload:start", cold=cold
                ).facts
            except JobError as error:
                self._error = error
                return

    def answer(self, tell: Tell) -> None:
        """Answer for the asked seconds, watched."""
        if self._error is not None:
            return
        tell(f"answering the workload for {self._seconds:.0f} s, watched from outside")
        try:
            self._done = self._asked.run(
                "edgehone.worker.profile_workload:answer", watch=lambda: self._watch, seconds=self._seconds
            )
        except JobError as error:
            self._error = error

    def result(self, bundle: Bundle) -> Profile:
        """All that was seen."""
        log = self._error.log if self._error else None
        text = log or (self._done.folder / "log.txt" if self._done else None)
        slices = slices_of(text.read_text("utf-8", "replace")) if text and text.is_file() else []
        begun, ended = self._span(slices)
        seen = self._seen(slices, begun, ended)
        found = {
            **figures.figures(seen),
            **figures.start_figures(self._starts.get("cold"), self._starts.get("warm")),
        }
        found["bandwidth_share"] = self._bandwidth_share(found["decode_tokens_per_s"])
        recipe = bundle.manifest.recipe
        return Profile(
            bundle=str(bundle.path),
            candidate=f"{recipe['backend']}/{recipe['name']}",
            device=self._asked.machine.to_json(),
            workload=bundle.decision.workload,
            seconds=self._seconds,
            concurrency=self._asked.clients,
            figures=found,
            bottlenecks=bottlenecks.judge(found),
            timeline=figures.timeline(self._watch.samples, begun),
            slices=tuple({**one, "from": one["from"] - begun, "to": one["to"] - begun} for one in slices),
            operators_reason="the profile failed" if self._error else "not asked for",
            notes=tuple(self._asked.notes),
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

    def _seen(self, slices: Sequence[Mapping[str, float]], begun: float, ended: float) -> Seen:
        import numpy as np

        latencies: list[float] = []
        ttfts: list[float] = []
        if self._done is not None:
            latencies, ttfts = (
                np.load(self._done.out / name).tolist() for name in ("latencies.npy", "ttfts.npy")
            )
        else:
            # Of a process that died each slice's mean is known.
            latencies = [one["mean"] for one in slices for _ in range(int(one["n"]))]
        work = self._asked.bundle.decision.workload
        return Seen(
            latencies,
            ttfts,
            [one for one in self._watch.samples if begun <= one.at <= ended],
            ended - begun,
            self._asked.job.threads,
            self._asked.machine.usable_memory_bytes,
            int(work["generated_tokens"]),
            int(work["batch"]),
            self._watch.reasons,
        )

    def _bandwidth_share(self, decode: Figure) -> Figure:
        machine = self._asked.machine
        if decode.value is None:
            return Figure.missing(str(decode.reason), "share")
        size = sum(path.stat().st_size for path in self._asked.bundle.artifact.rglob("*") if path.is_file())
        bandwidth = read_bandwidth(machine, home() / "bandwidth")
        return figures.bandwidth_share(size, decode, bandwidth, max(machine.caches.values(), default=None))


def _with_operators(made: Profile, asked: _Asked, tell: Tell) -> Profile:
    """The profile with operator times, or with the reason why there are none."""
    if capability(registry.load(asked.backend), OperatorProfiler) is None:
        return replace(made, operators_reason=f"{asked.backend} has no profiler of operators")
    tell("timing operators, in a pass of its own")
    shorter = (
        {"generated": min(OPERATOR_TOKENS, asked.request["generated"])} if "prompt" in asked.request else {}
    )
    try:
        done = asked.run("edgehone.worker.operator_times:time_operators", **shorter)
    except JobError as error:
        return replace(made, operators_reason=f"the pass failed: {error.message}")
    rows = tuple(OperatorTime(**one) for one in done.facts["operators"])
    return replace(made, operators=rows, operators_reason=None)

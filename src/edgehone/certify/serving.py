"""A real `edgehone serve` of the bundle under load: capacity, overload, soak, and the death of its engine.

All of it is one run of one server, so that the soak begins when the server is warm and what the loads left behind is
seen. The last step kills the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.verify import verify_bundle
from edgehone.bundle.schema import CERTIFICATION
from edgehone.bundle.write import copy_bundle
from edgehone.certify.asked import Asked, asked_of
from edgehone.certify.found import Skipped
from edgehone.certify.host_speed import unit_ms
from edgehone.certify.subject import Subject
from edgehone.core.errors import JobError
from edgehone.serve.load.client import Answered, Client
from edgehone.serve.load.loads import closed_for, scheduled, served
from edgehone.serve.load.started import PATIENCE, Started, server

PLACES = 4
# The load below the capacity, and that above it, as shares of the capacity.
BELOW, BEYOND = 0.6, 2.0
# More requests than this per second cost the client as much as the server.
MOST_PER_S = 400.0
# The soak: this many clients, and blocks of at least so many seconds and requests.
CLIENTS = 2
MOST_BLOCKS, LEAST_SECONDS, LEAST_REQUESTS = 60, 0.25, 4
# Others that take less of the processors leave a load, or a block of the soak, calm.
CALM = 0.1
# Seconds for memory to be given back after a load.
REST = 1.0


@dataclass(frozen=True)
class Block:
    """A block of the soak: when it ended, latencies in seconds, failed requests, memory in MB, and the probe's answer.

    `others` is the share of the processors that other programs took, None where the system does not tell. `unit_ms` is
    the time of a fixed unit of work after it (`host_speed`).
    """

    at: float
    latencies: tuple[float, ...]
    failed: int
    memory: float
    answer: str
    others: float | None
    unit_ms: float


@dataclass(frozen=True)
class Loads:
    """What a server did under load.

    `ready` are the seconds until it was ready, `capacity` its requests per second, `below` and `beyond` the answers at
    loads below and above that, the memory in MB is that before and after the second load beyond, and `model_memory`
    that before it without the server's own process. `others` is the larger share of the processors that other programs
    took during the two loads that are compared, None where the system does not tell. `metrics` are scrapes before and
    after the load below. `first` is the answer to the probe before all loads. `recovery` are the seconds until it
    answered after its engine was killed, None if it did not. `leaks` are the files that contain a prompt, of
    `looked_at` ones. `libraries` are the paths of the shared libraries that its processes had in memory.
    """

    ready: float
    capacity: float
    below: Sequence[Answered]
    beyond: Sequence[Answered]
    others: float | None
    memory_before: float
    memory_after: float
    model_memory: float
    metrics: tuple[str, str]
    blocks: Sequence[Block]
    first: str
    recovery: float | None
    leaks: Sequence[str]
    looked_at: int
    libraries: Sequence[str] = ()


def loads(subject: Subject) -> Loads:
    """Serve the bundle and put load on it. Raises Skipped where it cannot be served."""
    try:
        import uvicorn  # noqa: F401 - the server needs it
    except ModuleNotFoundError as error:
        raise Skipped(f'the server needs {error.name}: pip install "edgehone[serve]"') from error
    if not subject.bundle.manifest.approved:
        raise Skipped("the bundle is not approved, so it is not served")
    return asyncio.run(_loads(subject))


async def _loads(subject: Subject) -> Loads:
    path = _served_folder(subject)
    asked = asked_of(subject, path.name)
    place = subject.work / "serve"
    place.mkdir(exist_ok=True)
    log = subject.work / "serve.log"
    seconds = subject.profile.measure.stress_seconds
    words = ("--parallel", str(PLACES))
    subject.say("starting edgehone serve")
    async with server(path, *words, env={"TMPDIR": str(place)}, log=log) as started:
        first = await _first(started, asked)
        subject.say(f"load up to {BEYOND:g} times the capacity, {4 * seconds:.0f} s")
        warm = await closed_for(started.port, asked.ask, PLACES, seconds)
        if not (count := len(served(warm))):
            raise JobError(f"under load no request is answered: status {warm[0].status}")
        capacity = count / seconds
        scraped = await _metrics(started)
        used = _Used(started)
        below = await scheduled(started.port, asked.ask, min(MOST_PER_S, BELOW * capacity), seconds)
        others_below = used.by_others()
        metrics = (scraped, await _metrics(started))
        # A first overload takes what the server keeps for connections; only what a second one adds is not given back.
        over = min(2 * MOST_PER_S, BEYOND * capacity)
        await scheduled(started.port, asked.ask, over, seconds)
        await asyncio.sleep(REST)
        before, model_memory = started.resident(), started.resident_of_models()
        used = _Used(started)
        beyond = await scheduled(started.port, asked.ask, over, seconds)
        others_beyond = used.by_others()
        await asyncio.sleep(REST)
        after = started.resident()
        # The engine's folder goes with it, so logs are read before it is killed, and those of the next one afterwards.
        early, _ = await _leaks(started, asked, [place, log])
        blocks = await _soak(subject, started, asked)
        late, _ = await _leaks(started, asked, [place, log])
        libraries = started.libraries()
        subject.say("killing the engine")
        recovery = await _recovery(started, asked)
        last, looked_at = await _leaks(started, asked, [place, log])
        leaks = list(dict.fromkeys([*early, *late, *last]))
    return Loads(
        ready=started.seconds, capacity=capacity, below=below, beyond=beyond,
        others=_larger(others_below, others_beyond), memory_before=before, memory_after=after,
        model_memory=model_memory, metrics=metrics, blocks=blocks, first=first, recovery=recovery, leaks=leaks,
        looked_at=looked_at, libraries=libraries,
    )  # fmt: skip


def _served_folder(subject: Subject) -> Path:
    """Return the bundle's folder, or a copy without its certification if that is not about these files.

    A server refuses such a bundle, and the certificate that is being made replaces it.
    """
    path = subject.bundle.path.resolve()
    try:
        if any((path / name).exists() for name in CERTIFICATION):
            verify_bundle(path)
    except NotVerified:
        copy = subject.work / path.name
        copy_bundle(path, copy, without=CERTIFICATION)
        return copy
    return path


async def _metrics(started: Started) -> str:
    client = Client(started.port)
    text = (await client.get("/metrics")).tail.decode()
    client.close()
    return text[text.index("\n") + 1 :]  # of a long text the beginning is missing, perhaps within a line


async def _first(started: Started, asked: Asked) -> str:
    client = Client(started.port)
    answer = await asked.probe(client, 0)
    client.close()
    if answer.status != 200:
        raise JobError(f"a request is not answered: status {answer.status}: {answer.tail[:200]!r}")
    return asked.answer(answer)


async def _soak(subject: Subject, started: Started, asked: Asked) -> list[Block]:
    """Alternate blocks of load and a probe that is asked alone, since a batch may round differently."""
    seconds = subject.profile.measure.soak_seconds
    client = Client(started.port)
    probe = await asked.probe(client, 0)
    length = max(seconds / MOST_BLOCKS, LEAST_SECONDS, LEAST_REQUESTS * probe.seconds)
    begun, told = time.perf_counter(), 0.0
    blocks: list[Block] = []
    subject.say(f"soak of {seconds:.0f} s")
    while time.perf_counter() - begun < seconds:
        if time.perf_counter() - told > 60:
            told = time.perf_counter()
            subject.say(f"soak: {told - begun:.0f} of {seconds:.0f} s")
        used = _Used(started)
        answers = await closed_for(started.port, asked.ask, CLIENTS, length)
        others = used.by_others()
        good = served(answers)
        probe = await asked.probe(client, 0)
        blocks.append(
            Block(
                time.perf_counter() - begun,
                tuple(one.seconds for one in good),
                len(answers) - len(good) + (probe.status != 200),
                started.resident(),
                asked.answer(probe) if probe.status == 200 else f"status {probe.status}",
                others,
                unit_ms(),
            )
        )
    client.close()
    return blocks


class _Used:
    """The processor time that others use from now on: all but that of the server and of this process."""

    def __init__(self, started: Started) -> None:
        self._started = started
        self._before = self._now()

    def by_others(self) -> float | None:
        """Return their share of all processors."""
        whole, busy, own = (now - then for now, then in zip(self._now(), self._before, strict=True))
        return max(0.0, busy - own) / whole if whole > 0 else None

    def _now(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        whole, idle = sum(times), times.idle + getattr(times, "iowait", 0.0)
        own = sum(psutil.Process().cpu_times()[:2])
        for one in (self._started.process, *self._started.process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                own += sum(one.cpu_times()[:2])
        return whole, whole - idle, own


def _larger(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else max(first, second)


async def _recovery(started: Started, asked: Asked) -> float | None:
    """Kill the engine, and return the seconds until a request is answered by another one."""
    engine = started.engine
    if engine is None:
        raise JobError("edgehone serve has no engine process")
    children = engine.children(recursive=True)
    begun = time.perf_counter()
    engine.kill()
    for child in children:
        if child.is_running():
            child.kill()
    while time.perf_counter() - begun < PATIENCE:
        await asyncio.sleep(0.05)
        now = started.engine
        if now is None or now.pid == engine.pid:
            continue
        client = Client(started.port)
        ready = await client.get("/readyz")
        if ready.status == 200 and (await asked.probe(client, 0)).status == 200:
            client.close()
            return time.perf_counter() - begun
        client.close()
    return None


async def _leaks(started: Started, asked: Asked, places: Sequence[Path]) -> tuple[list[str], int]:
    """Return the files and paths of the server that contain the secret of the prompts, and how many were looked at."""
    if asked.secret is None:
        return [], 0
    client = Client(started.port)
    texts: dict[str, bytes] = {}
    for path in ("/metrics", "/readyz"):
        texts[path] = (await client.get(path)).tail
    client.close()
    for place in places:
        for file in [place] if place.is_file() else sorted(place.rglob("*")):
            if file.is_file():
                texts[file.relative_to(place.parent).as_posix()] = file.read_bytes()
    return [name for name, text in texts.items() if asked.secret.encode() in text], len(texts)


def summary(answers: Sequence[Answered]) -> Mapping[str, int]:
    """Return the number of answers by status."""
    statuses = sorted({one.status for one in answers})
    return {str(status): sum(one.status == status for one in answers) for status in statuses}

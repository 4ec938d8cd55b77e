"""Drift: the clients begin to write in capitals; `edgehone operate` notices, names the cause, and calls a human."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgehone.core.errors import JobError
from edgehone.monitor.exposition import samples
from edgehone.monitor.server import scrape
from edgehone.operate.server import Server
from edgehone.serve.keys import read_keys
from examples.demo_all.place import NAME, Place
from examples.demo_all.production import Live

WHY: Final = "the new shop writes in capitals"
# Windows of 5 minutes become windows of 15 s, for people who watch.
_FASTER: Final = "20"
_PATIENCE_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.5

Event = Mapping[str, Any]


@dataclass
class Drifted:
    """What happened: operate's steps, and seconds, evidence and limit of the detector that raised the alarm.

    `began` and `ended`: when the clients began to write in capitals, and when that was approved, in these seconds.
    """

    events: list[Event] = field(default_factory=list)
    evidence: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    needed: dict[str, float] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0
    story: Path | None = None

    @property
    def detector(self) -> str:
        """The detector with the most evidence before the approval."""
        until = {
            name: max((value for at, value in points if at <= self.ended), default=0.0)
            for name, points in self.evidence.items()
        }
        return max(until, key=lambda name: until[name])


async def drift(place: Place, live: Live) -> Drifted:
    """Let the requests change, and let operate deal with it. Returns what happened."""
    drifted, begun = Drifted(), time.monotonic()
    look = asyncio.create_task(_look(live, drifted, begun))
    try:
        await _until(lambda: _metric(live, "edgehone_drift_reference_samples") > 0, "the reference of drift")
        async with _operating(place, live, drifted):
            await _event(drifted, "begins")
            await asyncio.sleep(5)
            drifted.began = time.monotonic() - begun
            live.shout()
            place.tell("Drift: the clients write in capitals from now on.")
            await _answered(place, live, drifted, begun)
        await asyncio.sleep(5)
    finally:
        look.cancel()
    return drifted


async def _answered(place: Place, live: Live, drifted: Drifted, begun: float) -> None:
    """Follow the incident to its end, in the role of the human who is called."""
    noticed = await _event(drifted, "noticed", alert="drift_inputs")
    after = time.monotonic() - begun - drifted.began
    place.tell(f"Noticed after {after:.0f} s: {noticed['says']}.")
    diagnosed = await _event(drifted, "diagnosed", incident=noticed["incident"])
    place.tell(f"Diagnosed: {diagnosed['says']}.")
    called = await _event(drifted, "escalated", incident=noticed["incident"])
    drifted.story = Path(called["page"])
    place.tell(f"A human is called, with the story: {drifted.story}")
    server = Server(live.url, read_keys(place.operators)[0], None)
    await asyncio.to_thread(server.approve_drift, NAME, WHY)
    drifted.ended = time.monotonic() - begun
    place.tell(f"The human approves the requests as they are now: {WHY}.")
    closed = await _event(drifted, "closed", incident=noticed["incident"])
    place.tell(f"Closed: {closed['says']}.")


@asynccontextmanager
async def _operating(place: Place, live: Live, drifted: Drifted) -> AsyncIterator[None]:
    """Run `edgehone operate` until the block ends, and keep its steps."""
    words = [
        "operate",
        live.url,
        "--admin-key-file",
        str(place.operators),
        "--state",
        str(place.folder / "operate"),
    ]
    command = [sys.executable, "-m", "edgehone.cli.main", *words, "--faster", _FASTER, "--json"]
    with (place.folder / "log.txt").open("a", encoding="utf-8") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
        reading = asyncio.create_task(_read(process, drifted))
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await reading


async def _read(process: asyncio.subprocess.Process, drifted: Drifted) -> None:
    assert process.stdout
    async for line in process.stdout:
        drifted.events.append(json.loads(line))


async def _event(drifted: Drifted, kind: str, **facts: Any) -> Event:
    """Wait for a step of operate, and return it."""

    def found() -> Event | None:
        fits = (one for one in drifted.events if one["event"] == kind)
        return next(
            (one for one in fits if all(one.get(name) == value for name, value in facts.items())), None
        )

    await _until(lambda: found() is not None, f"operate's step {kind!r}")
    event = found()
    assert event is not None
    return event


async def _until(condition: Callable[[], bool], what: str) -> None:
    begun = time.monotonic()
    while not await asyncio.to_thread(condition):
        if time.monotonic() - begun > _PATIENCE_SECONDS:
            raise JobError(
                f"waited {_PATIENCE_SECONDS:.0f} s for {what}", hint="see log.txt in the folder of the run"
            )
        await asyncio.sleep(_LOOK_SECONDS)


def _metric(live: Live, name: str) -> float:
    return sum(value for _, _, value in samples(scrape(live.url), (name,)))


async def _look(live: Live, drifted: Drifted, begun: float) -> None:
    """Keep the evidence of each detector of drift, twice a second."""
    names = ("edgehone_drift_log10_evidence", "edgehone_drift_log10_needed")
    while True:
        text = await asyncio.to_thread(scrape, live.url)
        at = time.monotonic() - begun
        for metric, labels, value in samples(text, names):
            detector = dict(labels)["name"]
            if metric == names[0]:
                drifted.evidence.setdefault(detector, []).append((at, value))
            else:
                drifted.needed[detector] = value
        await asyncio.sleep(_LOOK_SECONDS)

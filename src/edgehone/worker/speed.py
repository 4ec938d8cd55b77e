"""Time the requests of one round, in a fresh process; `evaluation.speed` makes figures of all rounds.

A round opens the artifact, answers one turn to warm up, then times whole requests: the same prompt ids in and the same
number of tokens out for every framework.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.device.busy import Busy, others_share, pressure, read_busy, stolen_share
from edgehone.device.throttle import difference, read_conditions
from edgehone.worker import page_cache
from edgehone.worker.clock import MONOTONIC, seconds_to_open
from edgehone.worker.requests import Requests, open_requests
from edgehone.worker.run_delay import CALM, RunDelay

# A round answers at least this many turns, and goes on for as long as the effort says.
LEAST_TURNS = 3
# Of long requests two turns are enough, once they have taken so many seconds: each has many tokens already, and rounds
# are the independent samples.
LONG_TURNS, ENOUGH_SECONDS = 2, 10.0
# On a busy machine it goes on for up to so many times as long, until as many turns begin undisturbed. If opening the
# artifact took longer, for as long as that: a round that stays disturbed is repeated, and the next one opens it again.
LONGEST = 4
# A request of so many seconds is the only one of its round, and needs no other to warm up.
LONG_SECONDS = 20.0
# Others that take less of the processors leave a machine quiet.
QUIET = 0.05


def time_requests(job: WorkerJob) -> dict[str, Any]:
    """Time one round.

    args: `cold` (drop the artifact from the page cache first), `seconds`, and those of `open_requests`.
    Return `requests`, each as `Requests.answer` gives it, with `delay`, the seconds for which threads of this process
    waited for a processor during its turn (None where the system does not tell); `load`, the seconds to load the
    artifact; `first`, the slowest request of the turn after loading; `at`, when the round began (seconds since 1970);
    `conditions`, what changed on the machine during the round; and `still_cached`, why a cold round was not cold, or
    None.
    """
    at = time.time()
    still_cached = page_cache.drop(job.inputs["artifact"]) if job.args["cold"] else None
    started = time.perf_counter()
    requests = open_requests(job)
    clock = requests.clock
    opening = seconds_to_open(clock, started)
    before, busy = read_conditions(), read_busy()
    delay = RunDelay() if clock is MONOTONIC else None
    turns = [_turn(requests, delay)]
    first = _slowest(turns[0])
    alone = first["total"] >= LONG_SECONDS
    if not alone:
        turns, before, busy = [], read_conditions(), read_busy()
    begun = clock.now()
    seconds = job.args["seconds"]
    longest = max(LONGEST * seconds, opening)
    while not alone and (
        len(turns) < least_turns(clock.now() - begun)
        or _goes_on(turns, clock.now() - begun, (seconds, longest), busy)
    ):
        turns.append(_turn(requests, delay))
    if delay:
        delay.close()
    now = read_busy()
    conditions = difference(before, read_conditions()).to_json() | {
        "others_share": others_share(busy, now),
        "stolen_share": stolen_share(busy, now),
        "pressure_s": pressure(busy, now),
    }
    requests.close()
    # A framework may load lazily, in the first request: its time beyond that of a warm request belongs to loading.
    lazy = max(0.0, first["total"] - min(_slowest(turn)["total"] for turn in turns))
    return {
        "cold": job.args["cold"],
        "still_cached": still_cached,
        "load": opening + lazy,
        "first": first,
        "at": at,
        "requests": [request for turn in turns for request in turn],
        "conditions": conditions,
    }


def requests_seconds(request: float, least: float) -> float:
    """Predict the seconds of a round of requests of `request` seconds, which goes on for at least `least` seconds."""
    if request >= LONG_SECONDS:
        return request
    turns = LONG_TURNS if request * LONG_TURNS >= ENOUGH_SECONDS else LEAST_TURNS
    return request + max(turns * request, least)


def least_turns(spent: float) -> int:
    """Return how many turns a round answers at least, after so many seconds of them."""
    return LEAST_TURNS if spent < ENOUGH_SECONDS else LONG_TURNS


def _goes_on(
    turns: Sequence[Sequence[dict[str, Any]]], spent: float, limits: tuple[float, float], busy: Busy | None
) -> bool:
    """Return True until the first limit, in seconds, and up to the second one while other programs disturb it."""
    seconds, longest = limits
    if spent < seconds or spent >= longest:
        return spent < seconds
    if sum(_is_calm(turn[0]) for turn in turns) >= LEAST_TURNS:
        return False
    return (others_share(busy, read_busy()) or 0.0) > QUIET


def _is_calm(request: dict[str, Any]) -> bool:
    """Return True if the request's first piece, or the whole request without pieces, was not disturbed."""
    pieces = request.get("pieces")
    _, seconds, delay = pieces[0] if pieces else (1, request["total"], request["delay"])
    return delay is None or delay <= CALM * seconds


def _turn(requests: Requests, delay: RunDelay | None) -> list[dict[str, Any]]:
    """Answer a turn, and add the delay in it to each request. Computed times (no `delay`) are not disturbed."""
    if delay is None:
        return [request | {"delay": 0.0} for request in requests.answer()]
    delay.refresh()
    before = delay.seconds()
    turn = requests.answer()
    waited = delay.seconds() - before if delay.known else None
    return [request | {"delay": waited} for request in turn]


def _slowest(turn: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return max(turn, key=lambda request: request["total"])

"""Follow a rollout that a server runs. The server goes on without who follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgehone.core.errors import EdgehoneError, InputError
from edgehone.operate.server import CHANGE_SECONDS, Declined, Server, Unreachable
from edgehone.rollout.decision.plan import OPEN

ROLLOUTS = "/admin/rollouts"
LOOK_SECONDS = 0.5
# A server that is killed and started again loads two models first.
_GONE_SECONDS = 600.0
Told = Mapping[str, Any]
# The ends of a rollout in which what was asked for has happened.
GOOD = ("promoted", "finished")


def start(server: Server, body: Mapping[str, Any]) -> Told:
    """Begin a rollout. Raises InputError for one that the server refuses as wrong, Declined otherwise, Unreachable."""
    found: Told = _asked(server, "POST", ROLLOUTS, body, CHANGE_SECONDS)
    return found


def act(server: Server, name: str, action: str) -> Told:
    """Pause, resume or abort the rollout of a name. Raises InputError if there is none, Declined, Unreachable."""
    found: Told = _asked(server, "POST", f"{ROLLOUTS}/{name}/{action}")
    return found


def rollouts(server: Server, name: str | None = None) -> list[Told]:
    """Return the rollouts of a server, or of one name, the first one first."""
    found = _asked(server, "GET", ROLLOUTS)["rollouts"]
    return [one for one in found if name in (None, one["name"])]


def follow(
    server: Server,
    number: str,
    say: Callable[[str], None],
    *,
    seconds: float = LOOK_SECONDS,
    patience: float = _GONE_SECONDS,
) -> Iterator[Told]:
    """Yield a rollout whenever its status or stage has changed, until it has ended; the end is the last.

    A server that does not answer is waited for: it goes on where it was when it is started again with the same --state.
    Raises EdgehoneError after so many seconds, or if the server does not know the rollout any more.
    """
    before, gone = None, None
    while True:
        try:
            found = next((one for one in rollouts(server) if one["id"] == number), None)
            gone = None
        except Unreachable as error:
            if gone is None:
                say(f"{error.message}; waiting for it")
                gone = time.monotonic()
            elif time.monotonic() - gone > patience:
                raise
            time.sleep(seconds)
            continue
        if found is None:
            raise EdgehoneError(
                f"{server.url} does not know the rollout {number} any more: it was started without the state of then",
                hint="edgehone serve --state DIR keeps rollouts; the champion serves",
            )
        now = (found["status"], found.get("stage"))
        if now != before:
            yield found
            before = now
        if found["status"] not in OPEN:
            return
        time.sleep(seconds)


def _asked(server: Server, method: str, path: str, body: Any = None, seconds: float = 10.0) -> Any:
    try:
        return server.told(method, path, body, seconds)
    except Declined as error:
        if error.status in (400, 404):
            raise InputError(error.message, hint=f"edgehone rollout status --to {server.url}") from error
        raise

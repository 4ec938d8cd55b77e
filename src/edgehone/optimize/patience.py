"""How long a run waits while other programs keep the machine busy, and what it does then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from edgehone.core.errors import InputError, MachineBusy
from edgehone.core.suggestions import suggest

OTHERS_NOW = "edgehone.device.others:others_now"
WhenBusy = Literal["wait", "measure", "stop"]
# Below this share of the processors, other programs leave enough undisturbed time: a tenth of it at 60 % on two cores.
BUSY = 0.6


def checked(mode: str) -> WhenBusy:
    """Return the mode. Raises InputError for an unknown one."""
    for known in get_args(WhenBusy):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise InputError(f"--when-busy {mode!r} is unknown", hint=suggest(mode, get_args(WhenBusy)))


class Patience:
    """The seconds for which a run still waits for quiet, over all its measurements.

    `others` watches the machine that measures (`device.others.others_now`).
    """

    def __init__(self, mode: WhenBusy, seconds: float, others: Callable[[], Mapping[str, Any]]) -> None:
        self.mode, self.left = mode, seconds if mode == "wait" else 0.0
        self._others = others

    def wait(self, spent: float, say: Callable[[str], None]) -> bool:
        """Wait until other programs take little, after a measurement of `spent` seconds that they spoiled.

        Return False if the time is up; then the measurement must do. Raises MachineBusy if the run must not go on.
        """
        if self.mode == "stop":
            seen = self._others()
            raise MachineBusy(
                f"the machine is too busy to measure: {described(seen)}",
                hint="end those programs, or let edgehone wait for them: --when-busy wait",
            )
        self.left -= spent
        while self.left > 0:
            begun = time.monotonic()
            seen = self._others()
            if seen["share"] is None or seen["share"] < BUSY:
                return True
            say(f"waiting for a quiet machine: {described(seen)}; for at most {self.left:.0f} s more")
            self.left -= time.monotonic() - begun
        return False

    def why(self, share: float | None) -> str:
        """Return the programs that disturb a measurement. `share` is what others took during it, None if unknown.

        The programs are those that run now, usually the same.
        """
        return f"{described({**self._others(), 'share': share})} while it was measured"


def unwatched() -> Mapping[str, Any]:
    """Return the facts about other programs where they are not watched: none."""
    return {"share": None, "programs": []}


def described(seen: Mapping[str, Any]) -> str:
    """Return it in words, such as "other programs take 93 % of the processors (python3 47 %, cc1 46 %)"."""
    share = seen["share"]
    names = ", ".join(f"{name} {_percent(took)}" for name, took in seen["programs"])
    text = (
        "other programs disturb it"
        if share is None
        else f"other programs take {_percent(share)} of the processors"
    )
    return f"{text} ({names})" if names else text


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")

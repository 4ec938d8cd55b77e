"""Keep one good server running: the active slot's, or for a trial the other one's, and go back when that fails.

The state on disk names the old slot as active until the new one has been watched for its probation; so an agent that
is killed meanwhile starts the old one again.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil

from edgehone.bundle.read import read
from edgehone.device.detect import detect
from edgehone.fleet.errors import BadRelease
from edgehone.fleet.fit import peak_memory
from edgehone.fleet.install import Place
from edgehone.fleet.look import Say, failed, noted
from edgehone.fleet.serving import Starting, end, engine_restarts, is_alive, is_ready, running
from edgehone.fleet.settings import AgentSettings
from edgehone.fleet.state import Side, State, Store

_ASK_EVERY = 1.0


@dataclass
class _Watch:
    """The probation of a new server: until when, and since when it has not been ready."""

    until: float
    asked: float = 0.0
    unready: float | None = None


class Keeper:
    """The servers of an agent. `tick` is called a few times a second, by one thread."""

    def __init__(self, settings: AgentSettings, place: Place, store: Store, say: Say) -> None:
        self._settings, self._place, self._store, self._say = settings, place, store, say
        self._rules = settings.rules
        self.server: psutil.Process | None = None
        self._side: Side | None = None  # of the server
        self._starting: tuple[Side, Starting] | None = None
        self._watch: _Watch | None = None
        self._left: list[psutil.Process] = []
        self._failures, self._restart_at = 0, 0.0

    @property
    def serves(self) -> bool:
        """Whether a server that has proven itself runs."""
        return self.server is not None

    @property
    def busy(self) -> bool:
        """Whether a trial is under way."""
        return self._watch is not None or (
            self._starting is not None and not self._is_active(self._starting[0])
        )

    @property
    def under_way(self) -> bool:
        """Whether a server is being started or watched, or has to be."""
        lacks = self.server is None and self._store.state.active is not None
        return self.busy or self._starting is not None or lacks

    def begin(self) -> None:
        """Take over what an earlier agent left: the server of the active slot, if it is the only one and ready."""
        state, left = self._store.state, running(self._settings)
        if [side for side, _ in left] == [state.active] and is_ready(self._settings):
            self.server, self._side = left[0][1], state.active
            self._say(f"goes on with the server of slot {state.active}, process {self.server.pid}")
            return
        self._left = [process for _, process in left]
        if state.active is None:
            self._end_left()

    def tick(self) -> None:
        """Do what is next. Raises SetupError if the state cannot be written."""
        if self.server is not None and not is_alive(self.server):
            self._ended()
        if self._starting is not None:
            self._look_at_starting()
        elif self._watch is not None:
            self._look_at_probation()
        elif self.server is None and self._store.state.active and time.monotonic() >= self._restart_at:
            self._start(self._store.state.active)

    def try_it(self) -> bool:
        """Begin the trial of the other slot. Returns False while the server of the active one is being started."""
        state = self._store.state
        trial = state.trial
        if trial is None:
            return True
        if self._starting is not None or self._watch is not None:
            return False
        release = state.slots[trial.side]
        if trial.tries >= self._rules.most_tries:
            self._fail(trial.side, f"its trial was interrupted {trial.tries} times")
            return True
        self._store.change(_begun)
        if self.server is not None and not self._fits_beside(trial.side):
            self._say("there is no memory for two servers: the old one ends first")
            end(self.server, self._rules.drain_seconds)
            self.server = None
        self._say(f"release {release.number} is started in slot {trial.side}")
        self._start(trial.side)
        return True

    def end(self) -> None:
        """End every server."""
        if self._starting:
            self._starting[1].end(self._rules.drain_seconds)
        if self.server is not None:
            end(self.server, self._rules.drain_seconds)
        self._end_left()

    def _is_active(self, side: Side) -> bool:
        return side == self._store.state.active

    def _start(self, side: Side) -> None:
        try:
            self._starting = (side, Starting(self._settings, self._place.slot(side)))
        except (OSError, subprocess.SubprocessError) as error:  # no memory, no further process
            self._not_started(side, f"the server cannot be started: {error}")

    def _look_at_starting(self) -> None:
        assert self._starting is not None
        side, starting = self._starting
        try:
            if not starting.ready():
                return
        except BadRelease as error:
            self._starting = None
            starting.end(0)
            self._not_started(side, error.message)
            return
        old, self._starting, self._side = self.server, None, side
        try:
            self.server = psutil.Process(starting.process.pid)
        except psutil.NoSuchProcess:
            self.server = None
            self._not_started(side, "the server ended as soon as it was ready")
            return
        if old is not None:
            _background(lambda: end(old, self._rules.drain_seconds))
        self._end_left()
        if self._is_active(side):
            self._say(f"slot {side} answers on port {self._settings.settings.port}")
            return
        self._say(
            f"slot {side} has proven itself and answers; it is watched for {self._rules.probation_seconds:g} s"
        )
        self._watch = _Watch(time.monotonic() + self._rules.probation_seconds)

    def _look_at_probation(self) -> None:
        watch, now = self._watch, time.monotonic()
        assert watch is not None
        if now - watch.asked >= _ASK_EVERY:
            watch.asked = now
            if is_ready(self._settings):
                watch.unready = None
            elif watch.unready is None:
                watch.unready = now
            if restarts := engine_restarts(self._settings):
                self._go_back(f"its engine ended {restarts} times while it was watched")
                return
        if watch.unready is not None and now - watch.unready > self._rules.unready_seconds:
            self._go_back(f"it was not ready for {now - watch.unready:.0f} s while it was watched")
        elif now >= watch.until and watch.unready is None:
            self._commit()

    def _commit(self) -> None:
        """Make the new slot the active one."""
        state = self._store.state
        if state.trial is None:
            return
        side, release = state.trial.side, state.slots[state.trial.side]

        def good(state: State) -> State:
            new = noted(state, release, "good", "", self._rules.kept_outcomes)
            without = {name: count for name, count in state.failed.items() if name != release.manifest}
            return replace(new, active=side, trial=None, failed=without)

        self._store.change(good)
        self._watch, self._failures = None, 0
        self._say(f"release {release.number} is good")

    def _ended(self) -> None:
        """The server has ended by itself."""
        side, self.server = self._side, None
        self._say(f"the server of slot {side} ended")
        if self._watch is not None:
            self._go_back("its server ended while it was watched")

    def _go_back(self, reason: str) -> None:
        """The new server has failed after it began to answer: end it, and start the active slot again."""
        state, server = self._store.state, self.server
        self._watch, self.server = None, None
        if server is not None:
            end(server, 0)
        self._restart_at = 0.0
        if state.trial is not None:
            self._fail(state.trial.side, reason)

    def _not_started(self, side: Side, reason: str) -> None:
        if not self._is_active(side):
            self._fail(side, reason)
            return
        self._failures += 1
        self._say(f"slot {side} does not start: {reason}")
        state = self._store.state
        if self._failures >= self._rules.most_tries and state.trial is None and state.other in state.slots:
            self._fall_back(reason)
            return
        self._restart_at = time.monotonic() + min(2.0**self._failures, self._rules.longest_restart_seconds)

    def _fall_back(self, reason: str) -> None:
        """The active slot was good and does not start any more: take the other one, if it was good as well."""
        state = self._store.state
        other = state.other
        release = state.running
        assert release is not None
        self._failures, self._restart_at = 0, 0.0
        if state.failed.get(state.slots[other].manifest, 0) > state.failed.get(release.manifest, 0):
            return
        self._say(f"falls back to slot {other}")
        kept = self._rules.kept_outcomes
        self._store.change(lambda state: replace(failed(state, release, reason, kept), active=other))

    def _fail(self, side: Side, reason: str) -> None:
        release = self._store.state.slots[side]
        self._say(f"release {release.number} failed: {reason}; the device goes back")
        self._store.change(lambda state: failed(state, release, reason, self._rules.kept_outcomes))

    def _fits_beside(self, side: Side) -> bool:
        """Return whether the free memory has room for a second server; unknown figures speak against nothing."""
        device = detect()
        known = (device.memory_available_bytes, device.memory_limit_bytes)
        free = min((size for size in known if size is not None), default=None)
        peak = peak_memory(read(self._place.slot(side)))
        return peak is None or free is None or peak <= free * (1 - self._rules.beside_share)

    def _end_left(self) -> None:
        left, self._left = self._left, []
        for process in left:
            _background(lambda process=process: end(process, self._rules.drain_seconds))  # type: ignore[misc]


def _begun(state: State) -> State:
    assert state.trial is not None
    return replace(state, trial=replace(state.trial, tries=state.trial.tries + 1))


def _background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()

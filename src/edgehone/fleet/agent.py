"""The main loop of an agent: keep a proven server running, poll the channel, try new releases, and report."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from edgehone.core.errors import EdgehoneError, InputError, SetupError
from edgehone.execution.home import file_lock
from edgehone.fleet.install import make_folders, prune
from edgehone.fleet.keeper import Keeper
from edgehone.fleet.look import Look, Looker, Say
from edgehone.fleet.reporting import Reporter
from edgehone.fleet.settings import AgentSettings
from edgehone.fleet.state import Store

_TICK_SECONDS = 0.1
# The pause while nothing is under way: a server that ended is noticed so much later.
_IDLE_SECONDS = 0.5
T = TypeVar("T")


def run_agent(settings: AgentSettings, say: Say, stop: threading.Event) -> None:
    """Run the agent until `stop` is set, then end its server.

    Raises InputError if another agent has the folder or the state is damaged, SetupError if it cannot be written.
    """
    place = make_folders(settings.folder)
    try:
        with file_lock(settings.folder / "agent.lock", wait=False):
            store = Store(settings.folder, settings.channel)
            keeper = Keeper(settings, place, store, say)
            agent = _Agent(settings, Looker(settings, place, store, say), keeper, store, say)
            agent.prune = lambda: prune(place, lambda: [one.manifest for one in store.state.slots.values()])
            agent.run(stop)
    except BlockingIOError as error:
        raise InputError(
            f"another agent runs with the folder {settings.folder}", hint="end it, or name another folder"
        ) from error


class _Agent:
    def __init__(
        self, settings: AgentSettings, looker: Looker, keeper: Keeper, store: Store, say: Say
    ) -> None:
        self._settings, self._looker, self._keeper, self._store, self._say = (
            settings,
            looker,
            keeper,
            store,
            say,
        )
        self.prune: Callable[[], None] = lambda: None
        self._reporter = Reporter(settings)
        self._looking: _Background[Look] | None = None
        self._reporting: _Background[bool] | None = None
        self._next_look = self._next_report = 0.0
        self._troubles = 0
        self._report_troubles = 0
        self._to_try = False
        self._note = ""
        self._told = ""

    def run(self, stop: threading.Event) -> None:
        self._keeper.begin()
        try:
            while not stop.wait(self._pause_of_loop()):
                try:
                    self._step()
                except SetupError as error:  # the disk is full: nothing was decided, and it is tried again
                    self._tell(error.message)
        finally:
            self._keeper.end()

    def _pause_of_loop(self) -> float:
        under_way = self._keeper.under_way or self._to_try or self._looking or self._reporting
        return _TICK_SECONDS if under_way else _IDLE_SECONDS

    def _step(self) -> None:
        self._keeper.tick()
        if self._to_try:
            self._to_try = not self._keeper.try_it()
        now = time.monotonic()
        if self._looking is not None and self._looking.done:
            one, self._looking = self._looking, None
            self._looked(_result(one), now)
        elif self._looking is None and not self._keeper.busy and not self._to_try and now >= self._next_look:
            self._looking = _Background(self._looker.look)
        self._report(now)

    def _looked(self, look: Look, now: float) -> None:
        self._troubles = self._troubles + 1 if look.trouble else 0
        self._next_look = now + self._pause(self._troubles)
        self._note = look.note
        if look.note:
            self._tell(look.note)
        self._to_try = look.kind == "ready"
        if look.kind == "nothing" and not self._keeper.busy:
            self.prune()

    def _report(self, now: float) -> None:
        """Push what is new. A failure is repeated with growing pauses, like looks."""
        if self._reporting is not None and self._reporting.done:
            one, self._reporting = self._reporting, None
            try:
                one.result()
                self._report_troubles = 0
            except EdgehoneError as error:
                self._report_troubles += 1
                self._next_report = now + self._pause(self._report_troubles)
                self._tell(f"the report cannot be written: {error.message}")
        elif self._reporting is None and now >= self._next_report:
            state, serves, note = self._store.state, self._keeper.serves, self._note
            self._next_report = now + min(1.0, self._settings.rules.poll_seconds)
            if self._store.state.memory.version:  # the registry has answered before
                self._reporting = _Background(lambda: self._reporter.push(state, serves, note))

    def _pause(self, troubles: int) -> float:
        rules = self._settings.rules
        seconds = min(
            rules.poll_seconds * 2.0 ** min(troubles, 20), max(rules.longest_poll_seconds, rules.poll_seconds)
        )
        return seconds * random.uniform(1 - rules.jitter, 1 + rules.jitter)

    def _tell(self, text: str) -> None:
        """Say something once, not at each look."""
        if text != self._told:
            self._told = text
            self._say(text)


def _result(looking: _Background[Look]) -> Look:
    """Return the result of a look. An unexpected error is shown and reported; it must not end the running server."""
    try:
        return looking.result()
    except Exception as error:  # noqa: BLE001
        traceback.print_exception(error)
        return Look("waits", f"the look failed: {type(error).__name__}: {error}", trouble=True)


class _Background(Generic[T]):
    """A call in a daemon thread, which does not prevent the process from ending."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._value: T | None = None
        self._error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """Return its value, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - `result` raises it again
            self._error = error

"""One look at the channel: follow its document, and bring the release that it allows to a slot.

It runs in a thread beside the server. It never touches the slot that is active.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from edgehone.core.errors import InputError, SetupError
from edgehone.fleet.accept import accept, digest_of_document
from edgehone.fleet.channel import KIND, Channel, Release, read_signed, written
from edgehone.fleet.connection import network_here, why_metered, why_offline
from edgehone.fleet.errors import BadRelease, Refused, Unable
from edgehone.fleet.install import Place, check_room, check_slot, describe, fetch, write_slot
from edgehone.fleet.remote import get_document
from edgehone.fleet.report import Outcome, Result
from edgehone.fleet.settings import AgentSettings
from edgehone.fleet.state import State, Store, Trial
from edgehone.fleet.waves import allowed
from edgehone.registry.blobs import NoSpace
from edgehone.registry.remote.client import Client

Say = Callable[[str], None]
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Look:
    """What a look came to. "ready": a slot holds a verified release that is to be tried.

    `note` says what the device waits for. `trouble`: the registry or the network failed, so the next look may wait
    longer.
    """

    kind: Literal["ready", "nothing", "waits"]
    note: str = ""
    trouble: bool = False


class Looker:
    """Looks at the channel of one agent."""

    def __init__(
        self, settings: AgentSettings, place: Place, store: Store, say: Say, clock: Clock | None = None
    ) -> None:
        self._settings, self._place, self._store, self._say = settings, place, store, say
        self._clock = clock or (lambda: datetime.now(UTC))

    def look(self) -> Look:
        """Look once. What goes wrong becomes the note: the device goes on with what it runs."""
        network = network_here()
        if offline := why_offline(network, self._settings.address):
            return Look("waits", offline)
        try:
            with Client(self._settings.address) as client:
                release = allowed(self._channel(client), self._settings.device, self._settings.labels)
                return self._for(client, release)
        except Refused as error:
            return Look("waits", f"refused ({error.attack}): {error.message}")
        except (InputError, SetupError) as error:
            return Look("waits", error.message, trouble=True)

    def _channel(self, client: Client) -> Channel:
        data = get_document(client, self._settings.address.reference, KIND)
        if data is None:
            raise InputError(
                f"there is no channel {self._settings.address}", hint="edgehone agent publish CHANNEL BUNDLE"
            )
        channel = read_signed(data, self._settings.channel_key, f"the channel {self._settings.address}")
        memory = accept(
            channel,
            digest_of_document(data),
            self._settings.channel,
            self._store.state.memory,
            self._clock(),
        )
        self._store.change(lambda state: replace(state, memory=memory))
        return channel

    def _for(self, client: Client, release: Release | None) -> Look:
        state = self._store.state
        if state.running is not None and release is not None and release.manifest == state.running.manifest:
            self._same(release)
            return Look("nothing")
        if reason := self._why_not(release):
            return Look("nothing", reason)
        assert release is not None
        try:
            return self._prepared(client, release)
        except (Unable, NoSpace) as error:
            self._note(release, "unable", error.message)
            return Look("waits", error.message, trouble=True)
        except BadRelease as error:
            reason = error.message
            self._store.change(lambda state: failed(state, release, reason, self._kept()))
            return Look("waits", f"release {release.number} failed: {reason}")

    def _why_not(self, release: Release | None) -> str | None:
        """Return why the release is not taken, whatever its content; None if it is."""
        state = self._store.state
        if release is None:
            return "the channel has no release for this device yet"
        if state.running is not None and release.number < state.running.number:
            return f"release {release.number} is older than what runs; it is not taken"
        if state.failed.get(release.manifest, 0) >= self._settings.rules.most_tries:
            return f"release {release.number} failed here and is not tried again"
        return None

    def _prepared(self, client: Client, release: Release) -> Look:
        """Bring a release to the other slot, unless it is there."""
        state, settings = self._store.state, self._settings
        side = state.other
        here = state.trial is not None and state.slots[side].manifest == release.manifest
        if not here:
            wanted = describe(client, self._place, release)
            check_room(self._place, wanted, side, settings.rules.reserve_bytes)
            if waits := why_metered(
                network_here(), settings.settings.metered, wanted.missing, settings.settings.metered_bytes
            ):
                return Look("waits", waits)
            self._note(release, "started", "")
            transferred = fetch(client, self._place, wanted)
            self._say(f"release {release.number}: fetched {transferred / 1e6:.1f} MB")
            self._store.change(lambda state: emptied(state, side))
            write_slot(self._place, wanted, side)
        try:
            check_slot(
                self._place, side, settings.bundle_key, proven=settings.settings.instruction_sets == "proven"
            )
        except (BadRelease, Unable):
            self._store.change(lambda state: emptied(state, side))
            raise
        if not here:
            self._store.change(
                lambda state: replace(
                    state, slots={**state.slots, side: release}, trial=Trial(side=side, tries=0)
                )
            )
        return Look("ready")

    def _same(self, release: Release) -> None:
        """The channel names what runs: note its number, which a publisher may have raised, and end an older trial."""
        state = self._store.state
        if state.trial is not None:
            self._store.change(lambda state: emptied(state, state.other))
        if state.active and state.slots[state.active] != release:
            active = state.active
            self._store.change(lambda state: replace(state, slots={**state.slots, active: release}))
            self._note(release, "good", "the same bundle ran already")

    def _note(self, release: Release, result: Result, reason: str) -> None:
        self._store.change(lambda state: noted(state, release, result, reason, self._kept()))

    def _kept(self) -> int:
        return self._settings.rules.kept_outcomes


def emptied(state: State, side: Literal["a", "b"]) -> State:
    """Return the state before a slot is written: nothing is known of it."""
    slots = {name: one for name, one in state.slots.items() if name != side}
    return replace(state, slots=slots, trial=None)


def noted(state: State, release: Release, result: Result, reason: str, kept: int) -> State:
    """Return the state with an outcome of a release, in the place of an unfinished or equal one."""
    last = state.outcomes[-1] if state.outcomes else None
    same = last is not None and last.manifest == release.manifest
    if same and last is not None and (last.result, last.reason) == (result, reason):
        return state
    before = state.outcomes[:-1] if same else state.outcomes
    now = written(datetime.now(UTC))
    outcome = Outcome(release=release.number, manifest=release.manifest, result=result, reason=reason, at=now)
    return replace(state, outcomes=(*before, outcome)[-kept:])


def failed(state: State, release: Release, reason: str, kept: int) -> State:
    """Return the state after a release failed: the slot on trial is empty."""
    count = state.failed.get(release.manifest, 0) + 1
    others = {name: one for name, one in state.failed.items() if name != release.manifest}
    counted = dict([*others.items(), (release.manifest, count)][-kept:])
    new = noted(state, release, "failed", reason, kept)
    if state.trial is not None:
        new = emptied(new, state.trial.side)
    return replace(new, failed=counted)

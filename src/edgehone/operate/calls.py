"""Notify people of incidents. Delivery is repeated until every channel has accepted it, also after a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edgehone.operate.escalate import Call, NotDelivered
from edgehone.operate.journal import Incident, Journal
from edgehone.operate.options import Options
from edgehone.operate.story import title_of, write_story

_AGAIN_SECONDS = 60.0
ESCALATING, ESCALATED = "escalating to a human operator", "escalated to a human operator"


class Calls:
    """The calls of one server."""

    def __init__(
        self, journal: Journal, folder: Path, url: str, options: Options, tell: Callable[..., object]
    ) -> None:
        self._journal, self._folder, self._url = journal, folder, url
        self._options, self._tell = options, tell
        self._next: dict[int, float] = {}

    def deliver(self) -> None:
        """Send the notifications of incidents to be escalated by the channels that have not accepted them yet."""
        for incident in self._journal.open_incidents():
            if incident.outcome == ESCALATING and time.monotonic() >= self._next.get(incident.id, 0.0):
                self._call(incident)

    def _call(self, incident: Incident) -> None:
        events = self._journal.events(incident.id)
        page = write_story(self._folder, self._url, incident, events, self._journal.tried(incident.id))
        told = {one.detail["channel"] for one in events if one.kind == "delivered"}
        why = next((one.detail["why"] for one in reversed(events) if one.kind == "escalating"), "")
        labels = {
            "server": self._url,
            "symptom": incident.symptom,
            "severity": "page",
            "model": incident.model or "",
        }
        detail = {"alerts": [*incident.alerts], "why": why, "steps": [one.says for one in events]}
        call = Call(
            f"{title_of(self._url, incident)}: {why}", labels, detail, page.absolute(), incident.opened
        )
        failed = False
        for channel in self._options.channels:
            if channel.name in told:
                continue
            try:
                channel.deliver(call)
            except NotDelivered as error:
                failed = True
                self._tell("not delivered", error.message, incident.id, channel=channel.name)
            else:
                self._tell("delivered", f"{channel.name}: {page}", incident.id, channel=channel.name)
        if failed:
            self._next[incident.id] = time.monotonic() + _AGAIN_SECONDS / self._options.times
            return
        self._journal.name_outcome(incident.id, ESCALATED)
        self._tell("escalated", f"{ESCALATED}: {page}", incident.id, page=str(page))

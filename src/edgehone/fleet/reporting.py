"""Push a device's report to the registry when it has changed."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

from edgehone.fleet.channel import written
from edgehone.fleet.remote import report_tag, reports_address
from edgehone.fleet.report import KIND, Report, sign
from edgehone.fleet.settings import AgentSettings
from edgehone.fleet.state import State
from edgehone.registry.remote.artifact import put_artifact
from edgehone.registry.remote.client import Client

# Seconds after which an unchanged report is written again, so that a publisher sees that the device is online.
_REPEAT_SECONDS = 86_400 / 4


class Reporter:
    """Reports of one agent."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._last: Report | None = None
        self._when = 0.0

    def push(self, state: State, serves: bool, note: str) -> bool:
        """Push the report if it is new; return whether it was. Raises SetupError or InputError if that fails."""
        report = report_of(self._settings, state, serves, note)
        same = self._last is not None and replace(report, at=self._last.at) == self._last
        if same and time.monotonic() - self._when < _REPEAT_SECONDS:
            return False
        address = self._settings.address
        with Client(reports_address(address)) as client:
            tag = report_tag(address, self._settings.device)
            put_artifact(client, KIND, sign(report, self._settings.device_key), tag=tag)
        self._last, self._when = report, time.monotonic()
        return True


@cache
def _edgehone() -> str:
    """Return the version of this program: a package's files are read for it."""
    return version("edgehone")


def report_of(settings: AgentSettings, state: State, serves: bool, note: str) -> Report:
    """Return the report of a device. `serves`: whether its server answers."""
    running = state.running if serves else None
    return Report(
        channel=settings.channel,
        device=settings.device,
        labels=dict(settings.labels),
        version=state.memory.version,
        runs=running.number if running else None,
        manifest=running.manifest if running else None,
        outcomes=state.outcomes,
        note=note,
        at=written(datetime.now(UTC)),
        edgehone=_edgehone(),
    )

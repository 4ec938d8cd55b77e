"""How many threads a job's session gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.device.facts import Device


def threads_of(settings: Mapping[str, Any], machine: Device) -> int:
    """The threads of a session: those that its settings name, never more than may be used here."""
    return min(int(settings.get("threads") or machine.threads), machine.threads)

"""The number of threads of a job's session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.device.facts import Device


def threads_of(settings: Mapping[str, Any], machine: Device) -> int:
    """Return the threads that the settings ask for, all of the machine's by default, and never more than those."""
    return min(int(settings.get("threads") or machine.threads), machine.threads)

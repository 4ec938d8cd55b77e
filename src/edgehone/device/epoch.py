"""What benchmark rounds must have in common to be compared: the day, and how the machine is set up."""

from __future__ import annotations

import platform
from datetime import datetime
from pathlib import Path

from edgehone.device.power import read_power
from edgehone.device.throttle import read_conditions


def epoch() -> dict[str, str | None]:
    """Return the date of this machine, its kernel, the processors' frequency governors, and the power source."""
    governors = read_conditions().governors
    power = read_power(Path("/"), {})
    return {
        "date": datetime.now().astimezone().date().isoformat(),
        "kernel": platform.release(),
        "governors": ", ".join(governors) if governors else None,
        "power": power.source if power else None,
    }

"""How the machine is: temperature, frequency, throttling, waiting for processors, free memory and disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from edgehone.device.busy import Busy, pressure, read_busy
from edgehone.device.cgroup import read_available
from edgehone.device.throttle import read_conditions

# A processor counts as throttled for so many seconds after a counter of the kernel rose, so that scrapes see it.
_THROTTLED_SECONDS = 60.0


@dataclass(frozen=True)
class Machine:
    """A reading. Unavailable values are None or missing, with a reason under their name.

    `throttled`: a throttle counter rose within the last minute. `cpu_pressure` is the share of the time since the
    reading before in which some thread waited for a processor.
    """

    celsius: Mapping[str, float] = field(default_factory=dict)
    hertz: float | None = None
    throttled: bool | None = None
    cpu_pressure: float | None = None
    memory_available_bytes: int | None = None
    disk_free_bytes: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


class MachineReader:
    """Reads it again and again. Not for several threads at once."""

    def __init__(
        self, folders: Mapping[str, Path], sys: Path = Path("/sys"), proc: Path = Path("/proc")
    ) -> None:
        """`folders` are those whose disks are measured, by the name under which they are reported."""
        self._folders, self._sys, self._proc = folders, sys, proc
        self._throttles: int | None = None
        self._throttled_at = float("-inf")
        self._before: tuple[float, Busy | None] | None = None

    def read(self) -> Machine:
        """Return how the machine is now. Takes about a millisecond."""
        conditions = read_conditions(self._sys, self._proc)
        counts = (conditions.core_throttle_count, conditions.package_throttle_count)
        reasons = {
            name: conditions.reasons[key]
            for name, key in (
                ("temperature", "temperatures_c"), ("frequency", "frequencies_mhz"),
                ("throttled", "core_throttle_count"),
            )
            if key in conditions.reasons
        }  # fmt: skip
        waited = self._pressure()
        if waited is None:
            reasons["cpu_pressure"] = "/proc/pressure/cpu cannot be read, or was read for the first time"
        mhz = conditions.mean_mhz
        return Machine(
            conditions.temperatures_c or {},
            None if mhz is None else mhz * 1e6,
            self._throttled([one for one in counts if one is not None]),
            waited,
            min(one for one in (psutil.virtual_memory().available, self._left()) if one is not None),
            dict(self._free()),
            reasons,
        )

    def _left(self) -> int | None:
        return read_available(self._proc.parent)

    def _throttled(self, counts: list[int]) -> bool | None:
        if not counts:
            return None
        now, total = time.monotonic(), sum(counts)
        if self._throttles is not None and total > self._throttles:
            self._throttled_at = now
        self._throttles = total
        return now - self._throttled_at < _THROTTLED_SECONDS

    def _pressure(self) -> float | None:
        now, busy = time.monotonic(), read_busy(self._proc)
        before, self._before = self._before, (now, busy)
        if before is None or now <= before[0]:
            return None
        waited = pressure(before[1], busy)
        return None if waited is None else min(1.0, waited / (now - before[0]))

    def _free(self) -> Iterable[tuple[str, int]]:
        for name, folder in self._folders.items():
            try:
                yield name, shutil.disk_usage(folder).free
            except OSError:
                continue  # the folder was removed, or its disk is gone: then there is no figure

"""Sample a process and the machine from outside while the process runs its workload."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from edgehone.device.throttle import read_conditions
from edgehone.execution.processes import memory_split
from edgehone.execution.watch import Watch
from edgehone.profiling import counters
from edgehone.worker import energy

# A sample takes a few hundred microseconds of one core, so four per second are negligible.
SECONDS = 0.25


@dataclass(frozen=True)
class Sample:
    """One sample. `at` is time.perf_counter in seconds, which parent and child share; counters are cumulative."""

    at: float
    process: counters.ProcessCounters
    cores: tuple[tuple[float, float], ...]
    running: int | None
    anonymous: int | None
    file_mapped: int | None
    shared: int | None
    available: int | None
    mhz: tuple[float, ...] | None
    warmest_c: float | None
    throttles: int | None  # throttle events of cores and packages
    quota: tuple[int, int] | None
    joules: tuple[tuple[int, int], ...]  # microjoules and range of each counter

    def to_json(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return asdict(self)


class SystemWatch(Watch):
    """Samples of a child process and of the machine. `samples` stay readable after the child ended, even by a crash."""

    seconds = SECONDS

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.reasons: dict[str, str] = {}
        self._metered = energy.why_unreadable() is None

    def sample(self, pid: int) -> None:
        """Take one sample."""
        conditions = read_conditions()
        self.reasons.update(conditions.reasons)
        memory = memory_split(pid)
        throttles = [
            n for n in (conditions.core_throttle_count, conditions.package_throttle_count) if n is not None
        ]
        self.samples.append(
            Sample(
                at=time.perf_counter(),
                process=counters.process(pid),
                cores=tuple(counters.cores()),
                running=counters.running(),
                anonymous=memory.get("anonymous"),
                file_mapped=memory.get("file"),
                shared=memory.get("shared"),
                available=counters.available_memory(),
                mhz=conditions.frequencies_mhz,
                warmest_c=max((conditions.temperatures_c or {}).values(), default=None),
                throttles=sum(throttles) if throttles else None,
                quota=counters.quota(),
                joules=tuple(energy.read()) if self._metered else (),
            )
        )

    def result(self) -> dict[str, Any]:
        """Return all samples."""
        return {"samples": [one.to_json() for one in self.samples], "reasons": self.reasons}

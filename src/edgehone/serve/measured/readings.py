"""Readings of the machine and of the server's processes, on request, at most once in a second."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgehone.serve.measured.energy import EnergyReader
from edgehone.serve.measured.machine import Machine, MachineReader
from edgehone.serve.measured.processes import Taken, part_ids, read_processes
from edgehone.serve.model import Model

# Younger readings are returned again.
_FRESH_SECONDS = 1.0


class Readings(Collector):
    """The last readings, and their metrics. They are taken in a thread: a disk that hangs holds up no answer."""

    def __init__(self, models: Iterable[Model], state: Path) -> None:
        self._models = models
        self._reader = MachineReader({"state": state, "temporary": Path(tempfile.gettempdir())})
        self._energy = EnergyReader()
        self._lock = asyncio.Lock()
        self._at = float("-inf")
        self.machine = Machine()
        self.processes: list[Taken] = []
        self.joules: float | None = None

    async def refresh(self) -> None:
        """Read all unless that was done a moment ago."""
        async with self._lock:
            if time.monotonic() - self._at >= _FRESH_SECONDS:
                parts = part_ids(self._models)
                await asyncio.to_thread(self._read, parts)
                self._at = time.monotonic()

    def _read(self, parts: Iterable[tuple[str, str, Sequence[int]]]) -> None:
        self.machine, self.processes, self.joules = (
            self._reader.read(),
            read_processes(parts),
            self._energy.read(),
        )

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the last readings."""
        labels = ["part", "model"]
        seconds = CounterMetricFamily(
            "edgehone_cpu_seconds", "Processor time of the server's processes that run.", labels=labels
        )
        memory = GaugeMetricFamily(
            "edgehone_resident_memory_bytes",
            "Resident memory of the server's processes; shared pages count in each.",
            labels=labels,
        )
        for one in self.processes:
            seconds.add_metric([one.part, one.model], one.cpu_seconds)
            memory.add_metric([one.part, one.model], one.resident_bytes)
        yield seconds
        yield memory
        yield from _machine(self.machine)


def _machine(machine: Machine) -> Iterable[Metric]:
    warm = GaugeMetricFamily(
        "edgehone_machine_temperature_celsius", "Temperature of a thermal zone.", labels=["zone"]
    )
    for zone, celsius in machine.celsius.items():
        warm.add_metric([zone], celsius)
    free = GaugeMetricFamily(
        "edgehone_disk_free_bytes",
        "Free bytes on the disk of the folder of --state and of the temporary folder.",
        labels=["folder"],
    )
    for folder, size in machine.disk_free_bytes.items():
        free.add_metric([folder], size)
    yield warm
    yield free
    single = (
        ("frequency_hertz", "Mean frequency of the processors.", machine.hertz),
        ("throttled", "1 if the kernel counted throttling within the last minute.", machine.throttled),
        (
            "cpu_pressure_ratio",
            "Share of time since the last reading in which a thread waited for a processor (PSI).",
            machine.cpu_pressure,
        ),
        (
            "memory_available_bytes",
            "Memory that programs can get without swapping.",
            machine.memory_available_bytes,
        ),
    )
    for name, text, value in single:
        if value is not None:
            yield GaugeMetricFamily(f"edgehone_machine_{name}", text, value=float(value))

"""Options of operating servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgehone.operate.escalate import Channel

# Seconds within which a remedy must show that it helps, by symptom; otherwise it is undone. Latency, memory and errors
# change at once under traffic; labels of answers come hours later.
PATIENCE: Mapping[str, float] = {
    "latency": 900.0, "throughput": 900.0, "memory": 600.0, "errors": 300.0, "accuracy": 86_400.0, "drift": 86_400.0,
}  # fmt: skip
# The symptoms that remedies are for, the most urgent first; others are for humans.
ORDER = (
    "errors", "memory", "accuracy", "latency", "throughput", "drift", "security", "infrastructure", "business",
)  # fmt: skip
# No remedy is for these. Their alerts have nothing to do with each other: a human is called about each.
HUMANS = ("security", "infrastructure", "business")

Say = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """`every` is the seconds between two looks, `budget` the most remedies of a server in an hour.

    `times`: all windows, durations and waits are so many times shorter, for trials. `bundles` are folders of bundles
    that may be served instead; `baseline` a certified bundle or certificate for bundles without one. `registry` is
    where versions are kept, and where steps become events. `verify_key` verifies what is taken from there. `samples` is
    the folder of the server's --state with the key of its samples, `signing_key` signs challengers made from them, and
    `profile` and `soak` are those by which they are certified (`edgehone certify`).
    """

    every: float = 5.0
    budget: int = 6
    times: float = 1.0
    dry_run: bool = False
    once: bool = False
    control_groups: bool = False
    bundles: tuple[Path, ...] = ()
    baseline: Path | None = None
    registry: str | None = None
    blobs: Path | None = None
    verify_key: Path | None = None
    samples: Path | None = None
    samples_key: Path | None = None
    signing_key: Path | None = None
    profile: Path | None = None
    soak: str | None = None
    channels: tuple[Channel, ...] = field(default=())

    def patience(self, symptom: str) -> float:
        """Return for how many seconds a remedy is given."""
        return PATIENCE.get(symptom, 600.0) / self.times

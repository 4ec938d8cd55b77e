"""Device: the facts about a machine that a model must run on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Device:
    """What the machine says of itself. `None` is 'it does not say'; `reasons` tell why by the field's name."""

    architecture: str  # "x86_64", "aarch64", "arm64", …
    os: str  # "Debian GNU/Linux 12 (bookworm)", "macOS 15.1", …
    python: str
    threads: int  # that this process may use: affinity and control group's quota, at least 1
    cpu: str | None = None
    vendor: str | None = None
    board: str | None = None  # "Raspberry Pi 5 Model B Rev 1.0"
    simd: tuple[str, ...] | None = None
    physical_cores: int | None = None
    logical_cores: int | None = None
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None
    memory_limit_bytes: int | None = None  # of the control group, where it is below the machine's memory
    caches: Mapping[str, int] = field(default_factory=dict)  # of the first core: "L1d", "L2", … -> bytes
    kernel: str | None = None
    virtualised: bool | None = None
    container: bool | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def usable_memory_bytes(self) -> int | None:
        """Memory that a process may fill at most: the machine's, or the control group's limit."""
        known = [size for size in (self.memory_bytes, self.memory_limit_bytes) if size is not None]
        return min(known, default=None)

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits over what determines speed: cpu, SIMD, threads, memory in GiB, system."""
        memory = None if self.memory_bytes is None else round(self.memory_bytes / 2**30)
        parts = [self.cpu, self.architecture, self.simd, self.threads, memory, self.os]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Device:
        """The device that `to_json` told of, on another machine perhaps."""
        known = {one.name for one in fields(cls)}
        given = {name: value for name, value in told.items() if name in known}
        return cls(**{**given, "simd": None if told.get("simd") is None else tuple(told["simd"])})

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields and the fingerprint."""
        simd = None if self.simd is None else list(self.simd)
        return {**asdict(self), "simd": simd, "fingerprint": self.fingerprint}

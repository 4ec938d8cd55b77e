"""Device: the properties of a machine that a model runs on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Device:
    """The properties of a machine. Unknown ones are None; `reasons` has the reason under the field's name."""

    architecture: str  # "x86_64", "aarch64", "arm64", …
    os: str  # "Debian GNU/Linux 12 (bookworm)", "macOS 15.1", …
    python: str
    threads: int  # available to this process by affinity and control group quota, at least 1
    cpu: str | None = None
    vendor: str | None = None
    board: str | None = None  # "Raspberry Pi 5 Model B Rev 1.0"
    simd: tuple[str, ...] | None = None
    physical_cores: int | None = None
    logical_cores: int | None = None
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None
    memory_limit_bytes: int | None = None  # of the control group, if below the machine's memory
    caches: Mapping[str, int] = field(default_factory=dict)  # of the first core: "L1d", "L2", … -> bytes
    kernel: str | None = None
    virtualised: bool | None = None
    container: bool | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def usable_memory_bytes(self) -> int | None:
        """The memory that a process can use: the smaller of the machine's memory and the control group's limit."""
        known = [size for size in (self.memory_bytes, self.memory_limit_bytes) if size is not None]
        return min(known, default=None)

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that identify what determines speed: CPU, SIMD, threads, memory in GiB, system."""
        memory = None if self.memory_bytes is None else round(self.memory_bytes / 2**30)
        parts = [self.cpu, self.architecture, self.simd, self.threads, memory, self.os]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Device:
        """Return the device from the output of `to_json`, possibly of another version. Unknown keys are ignored."""
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        return cls(**{**values, "simd": None if data.get("simd") is None else tuple(data["simd"])})

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict of all fields and the fingerprint."""
        simd = None if self.simd is None else list(self.simd)
        return {**asdict(self), "simd": simd, "fingerprint": self.fingerprint}

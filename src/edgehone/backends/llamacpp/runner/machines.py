"""The processors that the runner is compiled for: machines.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Machine:
    """A kind of processor: an architecture ("arm64") and the instruction set of the kernels (`cpu`).

    `features` are the instructions that it needs, by the names in /proc/cpuinfo. `emulate` is a processor of the
    emulator that has them.
    """

    architecture: str
    cpu: str
    machine: str
    baseline: str
    features: tuple[str, ...]
    flags: tuple[str, ...]
    compilers: tuple[str, str]
    compiler_packages: str
    emulator: str
    emulator_package: str
    emulate: str


def architectures() -> tuple[str, ...]:
    """Return the names of all architectures."""
    return tuple(_table())


def cpus(architecture: str) -> tuple[str, ...]:
    """Return the instruction sets that the runner can be compiled for, of a known architecture."""
    return tuple(_table()[architecture]["cpus"])


def machine_of(architecture: str, cpu: str | None = None) -> Machine:
    """Return a kind of processor; without `cpu` the architecture's default. Raises InputError for unknown names."""
    table = _table()
    if architecture not in table:
        raise InputError(
            f"no architecture is called '{architecture}'; {suggest(architecture, table)}",
            hint=f"one of {', '.join(table)}",
        )
    known = table[architecture]
    cpu = cpu or str(known["cpu"])
    if cpu not in known["cpus"]:
        raise InputError(
            f"no instruction set of {architecture} is called '{cpu}'; {suggest(cpu, known['cpus'])}",
            hint=f"one of {', '.join(known['cpus'])}",
        )
    chosen = known["cpus"][cpu]
    return Machine(
        architecture,
        cpu,
        known["machine"],
        known["baseline"],
        tuple(chosen["features"]),
        tuple(chosen["flags"]),
        (known["compilers"][0], known["compilers"][1]),
        known["compiler_packages"],
        known["emulator"],
        known["emulator_package"],
        chosen["emulate"],
    )


def _table() -> dict[str, dict]:  # type: ignore[type-arg]
    return tomllib.loads((HERE / "machines.toml").read_text("utf-8"))

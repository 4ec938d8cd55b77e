"""The request: what the user asked for, and the command line that asks for the same again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgehone.backends.base import Effort


@dataclass(frozen=True)
class Request:
    """The arguments of `edgehone.optimize`, as given."""

    model: str | Path
    workload: str | None = None
    effort: Effort = "normal"
    backends: tuple[str, ...] | None = None
    evaluation: str | Path | None = None
    calibration: str | Path | None = None
    task: str | Path | None = None
    metric: str | None = None
    gates: tuple[str, ...] = ()
    out: str | Path | None = None
    config_file: str | Path | None = None

    def command(self) -> list[str]:
        """The command line that does the same, paths made absolute."""
        words = ["edgehone", "optimize", _absolute(self.model)]
        words += ["--workload", self.workload] if self.workload else []
        words += ["--effort", self.effort]
        words += ["--metric", self.metric] if self.metric else []
        words += ["--backends", ",".join(self.backends)] if self.backends else []
        files = {
            "--eval": self.evaluation,
            "--calibrate": self.calibration,
            "--task": self.task,
            "--config": self.config_file,
        }
        for option, path in files.items():
            words += [option, _absolute(path)] if path else []
        for gate in self.gates:
            words += ["--gate", gate]
        return words + (["--out", _absolute(self.out)] if self.out else [])


def _absolute(path: str | Path) -> str:
    return str(Path(path).resolve())

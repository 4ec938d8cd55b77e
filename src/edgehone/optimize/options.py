"""The request: what the user asked for, and the command line that asks for the same again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgehone.backends.base import Effort


@dataclass(frozen=True)
class OptimizeOptions:
    """The arguments of `edgehone.optimize`, as given."""

    model: str | Path
    workload: str | None = None
    effort: Effort = "normal"
    backends: tuple[str, ...] | None = None
    evaluation: str | Path | None = None
    calibration: str | Path | None = None
    task: str | Path | None = None
    metric: str | None = None
    pictures: str | Path | None = None
    gates: tuple[str, ...] = ()
    time: float | None = None
    minimize: tuple[str, ...] = ()
    maximize: tuple[str, ...] = ()
    subject_to: tuple[str, ...] = ()
    weights: str | None = None
    out: str | Path | None = None
    config_file: str | Path | None = None
    device: str | None = None  # what it must run on: a name of the catalogue, ssh://…, None for this machine
    workers: str | None = None  # the scheduler of a Dask cluster

    def command(self) -> list[str]:
        """The command line that does the same, paths made absolute."""
        words = ["edgehone", "optimize", _absolute(self.model)]
        words += ["--workload", self.workload] if self.workload else []
        words += ["--effort", self.effort]
        words += ["--device", self.device] if self.device else []
        words += ["--workers", self.workers] if self.workers else []
        words += ["--metric", self.metric] if self.metric else []
        words += ["--backends", ",".join(self.backends)] if self.backends else []
        files = {
            "--eval": self.evaluation,
            "--calibrate": self.calibration,
            "--task": self.task,
            "--pictures": self.pictures,
            "--config": self.config_file,
        }
        for option, path in files.items():
            words += [option, _absolute(path)] if path else []
        words += ["--time", f"{self.time:g}"] if self.time else []
        words += ["--weights", self.weights] if self.weights else []
        repeated = {
            "--gate": self.gates,
            "--minimize": self.minimize,
            "--maximize": self.maximize,
            "--subject-to": self.subject_to,
        }
        for option, values in repeated.items():
            for value in values:
                words += [option, value]
        return words + (["--out", _absolute(self.out)] if self.out else [])


def _absolute(path: str | Path) -> str:
    return str(Path(path).resolve())

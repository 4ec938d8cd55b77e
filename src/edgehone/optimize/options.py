"""The options of `edgehone.optimize`, and the command line that repeats a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from edgehone.backends.base import Effort
from edgehone.core.events import Emit, silent
from edgehone.core.suggestions import suggest
from edgehone.model.stores.locate import locate
from edgehone.optimize.patience import WhenBusy


class Options(TypedDict, total=False):
    """Keyword arguments of `edgehone.optimize`; its docstring explains each."""

    device: str | None
    workers: str | None
    workload: str | None
    effort: Effort
    backends: Sequence[str] | None
    evaluation: str | Path | None
    calibration: str | Path | None
    chat: str | Path | None
    task: str | Path | None
    metric: str | None
    task_kind: str | None
    axes: Sequence[str]
    states: Sequence[str]
    pictures: str | Path | None
    adapter: str | Path | None
    keep_adapter: bool
    against: str | Path | None
    gates: Sequence[str]
    time: float | None
    minimize: Sequence[str]
    maximize: Sequence[str]
    subject_to: Sequence[str]
    targets: Sequence[str]
    fallback: bool
    weights: str | None
    when_busy: WhenBusy
    memory: int | None
    disk: int | None
    out: str | Path | None
    config_file: str | Path | None
    emit: Emit


@dataclass(frozen=True)
class OptimizeOptions:
    """The model and the options of one run, with their defaults."""

    model: str | Path
    device: str | None = None
    workers: str | None = None
    workload: str | None = None
    effort: Effort = "normal"
    backends: tuple[str, ...] | None = None
    evaluation: str | Path | None = None
    calibration: str | Path | None = None
    chat: str | Path | None = None
    task: str | Path | None = None
    metric: str | None = None
    task_kind: str | None = None
    axes: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    pictures: str | Path | None = None
    adapter: str | Path | None = None
    keep_adapter: bool = False
    against: str | Path | None = None
    gates: tuple[str, ...] = ()
    time: float | None = None
    minimize: tuple[str, ...] = ()
    maximize: tuple[str, ...] = ()
    subject_to: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    fallback: bool = True
    weights: str | None = None
    when_busy: WhenBusy = "wait"
    memory: int | None = None
    disk: int | None = None
    out: str | Path | None = None
    config_file: str | Path | None = None
    emit: Emit = silent

    @classmethod
    def of(cls, model: str | Path, options: Options) -> OptimizeOptions:
        """Build the options from keyword arguments. Raises TypeError for an unknown one and names the nearest."""
        known = [field.name for field in fields(cls) if field.name != "model"]
        values: dict[str, Any] = dict(options)
        for name in values:
            if name not in known:
                raise TypeError(f"optimize() has no option {name!r}; {suggest(name, known)}")
        for name in ("axes", "states", "gates", "minimize", "maximize", "subject_to", "targets"):
            values[name] = tuple(values.get(name) or ())
        # An empty list of backends means all of them.
        values["backends"] = tuple(values.get("backends") or ()) or None
        return cls(model, **values)

    @property
    def given_model(self) -> str | Path:
        """The model that the user gave; `model` may be made of it."""
        return self.model

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the report on how `model` was made."""
        return ()

    def command(self) -> list[str]:
        """Return the command line that repeats the run, with absolute paths."""
        words = ["edgehone", "optimize", _absolute(locate(self.given_model))]
        words += ["--adapter", _absolute(self.adapter)] if self.adapter else []
        words += ["--keep-adapter"] if self.keep_adapter else []
        words += ["--against", _absolute(locate(self.against))] if self.against else []
        words += ["--workload", self.workload] if self.workload else []
        words += ["--effort", self.effort]
        words += ["--device", self.device] if self.device else []
        words += ["--workers", self.workers] if self.workers else []
        words += ["--metric", self.metric] if self.metric else []
        words += ["--task-kind", self.task_kind] if self.task_kind else []
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
        if self.chat is not None:
            words += ["--chat", *([_absolute(self.chat)] if self.chat else [])]
        words += ["--time", f"{self.time:.10g}"] if self.time else []
        words += ["--weights", self.weights] if self.weights else []
        repeated = {
            "--axes": self.axes,
            "--state": self.states,
            "--gate": self.gates,
            "--minimize": self.minimize,
            "--maximize": self.maximize,
            "--subject-to": self.subject_to,
            "--target": self.targets,
        }
        for option, values in repeated.items():
            for value in values:
                words += [option, value]
        words += ["--when-busy", self.when_busy] if self.when_busy != "wait" else []
        words += ["--memory", str(self.memory)] if self.memory else []
        words += ["--disk", str(self.disk)] if self.disk else []
        words += [] if self.fallback else ["--no-fallback"]
        return words + (["--out", _absolute(self.out)] if self.out else [])


def _absolute(path: str | Path) -> str:
    # Not resolved: a file in the hub's cache is a link to a blob, which has no name.
    return str(Path(path).absolute())

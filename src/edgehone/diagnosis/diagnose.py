"""Diagnose a path: decide what it is, gather its facts or read its log, and judge the causes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.bundle.read import read
from edgehone.bundle.schema import MANIFEST
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.diagnosis import causes, logs
from edgehone.diagnosis.causes import SYMPTOMS, Cause
from edgehone.diagnosis.facts import of_bundle, of_model
from edgehone.diagnosis.logs import Failure
from edgehone.execution.failure_cause import root_cause
from edgehone.model.info import FILES
from edgehone.model.inspect import inspect


@dataclass(frozen=True)
class Diagnosis:
    """The result. `about` is "bundle", "model" or "log". `causes` are all judged ones, `failures` those of a log."""

    about: str
    path: str
    causes: tuple[Cause, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def found(self) -> tuple[Cause, ...]:
        """The causes of which every condition holds."""
        return tuple(cause for cause in self.causes if cause.found)

    def to_json(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {
            "about": self.about,
            "path": self.path,
            "causes": [cause.to_json() for cause in self.causes],
            "failures": [failure.to_json() for failure in self.failures],
        }


def diagnose(path: str | Path, symptom: str | None = None) -> Diagnosis:
    """Diagnose a bundle's folder, a model, or a log file.

    Raises InputError for an unknown symptom, for a path that is none of the three, and for a log without a known
    failure; the message then quotes the most relevant line.
    """
    if symptom is not None and symptom not in SYMPTOMS:
        raise InputError(f"unknown symptom {symptom!r}", hint=suggest(symptom, SYMPTOMS))
    path = Path(path)
    if not path.exists():
        raise InputError(
            why_absent(path, f"no such bundle, model or log: {path}"),
            hint="give the folder of a bundle, a model or a log file",
        )
    if (path / MANIFEST).is_file():
        judged = causes.judge("bundle", of_bundle(read(path)), symptom)
        return Diagnosis("bundle", str(path), tuple(judged))
    if log := _log(path):
        return Diagnosis("log", str(log), failures=_failures(log, symptom))
    judged = causes.judge("model", of_model(inspect(path)), symptom)
    return Diagnosis("model", str(path), tuple(judged))


def _log(path: Path) -> Path | None:
    """Return the log: the path itself if it is not a model file, or log.txt in the folder of a failed job."""
    if path.is_dir():
        return path / "log.txt" if (path / "log.txt").is_file() else None
    endings = {"onnx": ".onnx", "torch-export": ".pt2", "gguf": ".gguf"}
    assert set(endings) == set(FILES)
    return None if path.suffix in endings.values() else path


def _failures(log: Path, symptom: str | None) -> tuple[Failure, ...]:
    text = logs.read(log)
    failures = tuple(one for one in logs.find(text) if symptom in (None, one.symptom))
    if not failures:
        line = root_cause(text)
        detail = f"; the most relevant line is: {line}" if line else "; it is empty"
        raise InputError(
            f"no known failure in {log}{detail}",
            hint="search the toolchain's issue tracker for that line",
        )
    return failures

"""The story of a diagnosis: what was given, its facts or its log, the causes, and what to do about each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.bundle.read import read
from edgehone.bundle.schema import MANIFEST
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
    """`about` is "bundle", "model" or "log". Causes are those judged, found or not; failures are those of a log."""

    about: str
    path: str
    causes: tuple[Cause, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def found(self) -> tuple[Cause, ...]:
        """The causes whose every condition holds."""
        return tuple(cause for cause in self.causes if cause.found)

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {
            "about": self.about,
            "path": self.path,
            "causes": [cause.to_json() for cause in self.causes],
            "failures": [failure.to_json() for failure in self.failures],
        }


def diagnose(path: str | Path, symptom: str | None = None) -> Diagnosis:
    """Diagnose a bundle's folder, a model, or a log.

    Raises InputError for a symptom that is none, for what is neither of the three, and for a log in which nothing known
    is found: it then quotes the line that tells most.
    """
    if symptom is not None and symptom not in SYMPTOMS:
        raise InputError(f"no symptom is called {symptom!r}", hint=suggest(symptom, SYMPTOMS))
    place = Path(path)
    if not place.exists():
        raise InputError(
            f"no such bundle, model or log: {place}", hint="give a bundle's folder, a model or a log file"
        )
    if (place / MANIFEST).is_file():
        found = causes.judge("bundle", of_bundle(read(place)), symptom)
        return Diagnosis("bundle", str(place), tuple(found))
    if log := _log(place):
        return Diagnosis("log", str(log), failures=_failures(log, symptom))
    found = causes.judge("model", of_model(inspect(place)), symptom)
    return Diagnosis("model", str(place), tuple(found))


def _log(place: Path) -> Path | None:
    """The log that was given: a file that is no model, or the folder of a failed job."""
    if place.is_dir():
        return place / "log.txt" if (place / "log.txt").is_file() else None
    endings = {"onnx": ".onnx", "torch-export": ".pt2", "gguf": ".gguf"}
    assert set(endings) == set(FILES)
    return None if place.suffix in endings.values() else place


def _failures(log: Path, symptom: str | None) -> tuple[Failure, ...]:
    text = logs.read(log)
    found = tuple(one for one in logs.find(text) if symptom in (None, one.symptom))
    if not found:
        telling = root_cause(text)
        said = f"; its most telling line is: {telling}" if telling else "; it is empty"
        raise InputError(
            f"nothing in {log} is a failure that is known{said}",
            hint="search the toolchain's own issues for that line",
        )
    return found

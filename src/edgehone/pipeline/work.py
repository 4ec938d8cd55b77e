"""What a stage is given: the document, where it works, and the results of the stages before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgehone.core.absence import why_absent
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.package.deployment import backends_of_framework
from edgehone.pipeline import child
from edgehone.pipeline.document import Document, Model, Pipeline
from edgehone.pipeline.result import Check, CheckOutcome, Result


class StageFailed(EdgehoneError):
    """A stage cannot go on; the checks until then are in its result."""


@dataclass(frozen=True)
class Work:
    """A stage's surroundings.

    `base`: paths in the document are relative to it. `out`: the folder of the run. `given`: a bundle that was given in
    the place of an optimization. `results`: passed ones, by stage. `remember` and `remembered` keep facts of a stage
    that must outlive a killed run. `checks`, `notes` and `figures` go into the result.
    """

    document: Document
    base: Path
    out: Path
    given: Path | None
    say: Callable[[str], None]
    stage: str = ""
    results: Mapping[str, Result] = field(default_factory=dict)
    remember: Callable[[Mapping[str, Any]], None] = lambda facts: None
    remembered: Mapping[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    @property
    def pipeline(self) -> Pipeline:
        """The section edge_ai_pipeline."""
        return self.document.edge_ai_pipeline

    @property
    def model(self) -> Path:
        """The model's folder or file. Raises InputError if none is named, or it does not exist."""
        named = self.pipeline.model.path
        if named is None:
            raise InputError("no model is named", hint="add --model MODEL, or edge_ai_pipeline.model.path")
        path = self.base / named
        if not path.exists():
            raise InputError(why_absent(path, f"there is no model {path}"), hint="add --model MODEL")
        return path

    @property
    def model_name(self) -> str:
        """What the run is about, for people: the name in the registry, else that of the model or bundle."""
        model = self.pipeline.model
        return model.name or (Path(model.path).name if model.path else self.bundle.name)

    @property
    def bundle(self) -> Path:
        """The bundle that this run is about."""
        return self.given or self.out / "bundle"

    @property
    def log(self) -> Path:
        """The file with the output of the stage's children."""
        return self.out / "logs" / f"{self.stage}.log"

    def path(self, named: str | None) -> Path | None:
        """Return a path of the document, None if it names none."""
        return None if named is None else self.base / named

    def for_stage(self, stage: str, results: Mapping[str, Result]) -> Work:
        """Return the surroundings of another stage, with no checks yet."""
        return replace(self, stage=stage, results=dict(results), checks=[], notes=[], figures=[])

    def verb(self, *words: str | Path) -> child.Done:
        """Run a verb of edgehone."""
        self.say(f"{self.stage}: edgehone {' '.join(map(str, words))}")
        return child.verb([str(word) for word in words], self.log)

    def call(self, function: str, **arguments: Any) -> Any:
        """Call a function of edgehone in a child process. Raises JobError if it raises an error."""
        return child.call(function, arguments, self.log)

    def found(self, name: str, outcome: CheckOutcome, said: str, begun: float | None = None) -> None:
        """Note the outcome of a check; `begun` is when it began, on the clock of time.perf_counter."""
        seconds = 0.0 if begun is None else time.perf_counter() - begun
        self.checks.append(Check(name, outcome, said, round(seconds, 3)))
        self.say(f"{self.stage}: {name} {outcome}: {said}")

    def backends(self) -> list[str]:
        """Return the backends of the frameworks that are named; [] for all."""
        frameworks: Sequence[str] = self.pipeline.optimization.frameworks
        found = [one for name in frameworks for one in backends_of_framework(name, "frameworks")]
        return list(dict.fromkeys(found))

    def model_words(self) -> list[str]:
        """Return the options that say what the model is evaluated and measured with."""
        model: Model = self.pipeline.model
        words: list[str] = []
        for name in ("eval", "calibrate", "config"):
            if (path := self.path(getattr(model, name))) is not None:
                words += [f"--{name}", str(path)]
        for name in ("metric", "workload", "device"):
            if (value := getattr(model, name)) is not None:
                words += [f"--{name}", value]
        return words

"""What a stage is: the stages that it needs, the settings and files that determine its result, and its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgehone.pipeline.document import Approval, Pipeline
from edgehone.pipeline.result import Result
from edgehone.pipeline.work import Work


@dataclass(frozen=True)
class Stage:
    """A stage.

    `says`: what it does, for people. `settings`: its part of the document, as JSON. `inputs`: digests of the files that
    it reads. `make`: does the work, notes checks in `Work`, and returns the outputs and a sentence. `departed`: why a
    passed result no longer holds, None if it does.
    """

    name: str
    says: str
    needs: str | None
    settings: Callable[[Pipeline], Mapping[str, Any]]
    inputs: Callable[[Work], Mapping[str, str]]
    make: Callable[[Work], tuple[Mapping[str, Any], str]]
    departed: Callable[[Work, Result], str | None]
    approval: Callable[[Pipeline], Approval]

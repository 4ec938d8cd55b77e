"""Statistics of a bundle's inputs and answers in its evaluation: drift-reference.json of a certified bundle.

For a graph the evaluation samples are what its quality was proven on. So requests that differ from them raise an alarm
from the first one on: the certified figures do not hold for them. For a language model the evaluation knows prompts
that were cut from a text to the workload's length; real prompts differ from them without any drift. The difference is
told, and raises no alarm: the reference for alarms is the first traffic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgehone.bundle.schema import DRIFT_REFERENCE
from edgehone.core.errors import InputError
from edgehone.drift import Reference

FORMAT: Final = "edgehone-evaluated/1"


@dataclass(frozen=True)
class Evaluated:
    """`reference` is None without statistics; `reason` says why, or why differences raise no alarm.

    `counts`: they do. `features` names the input features of a graph.
    """

    reference: Reference | None
    counts: bool
    reason: str
    features: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the content of drift-reference.json."""
        return {
            "format": FORMAT,
            "counts": self.counts,
            "reason": self.reason,
            "features": list(self.features),
            "reference": self.reference and self.reference.to_json(),
        }


def read_evaluated(bundle: Path) -> Evaluated:
    """Return the statistics of a bundle's evaluation. Raises InputError for a damaged file."""
    path = bundle / DRIFT_REFERENCE
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Evaluated(None, False, "the bundle is not certified, or by an earlier edgehone")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint=f"edgehone certify {bundle}") from error
    return _of_json(data, path)


def _of_json(data: Any, path: Path) -> Evaluated:
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise InputError(f"{path} is not of the format {FORMAT}", hint=f"edgehone certify {path.parent}")
    stored = data.get("reference")
    return Evaluated(
        None if stored is None else Reference.from_json(stored),
        bool(data.get("counts")),
        str(data.get("reason", "")),
        tuple(map(str, data.get("features", ()))),
    )

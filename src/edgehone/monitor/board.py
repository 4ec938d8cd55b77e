"""The alerts of the bundles that a server serves, for the server itself (`serve.alerts`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.bundle.schema import CERTIFICATE
from edgehone.core.errors import EdgehoneError
from edgehone.monitor.alert import Baselines, alerts, left_out
from edgehone.monitor.baseline import read_baselines
from edgehone.monitor.evaluate import Evaluator, Firing, urgency


class Board:
    """Alerts by the baselines of certificates; for a bundle without them, those that need none."""

    def __init__(self, bundles: Mapping[str, Path]) -> None:
        baselines = [_baselines(name, path) for name, path in sorted(bundles.items())]
        made = alerts(baselines)
        self._evaluator, self._count = Evaluator(made), len(made)
        self._left_out = [vars(one) for one in left_out(baselines)]
        self._at = 0.0

    def add(self, at: float, text: str) -> None:
        """Evaluate the alerts by the text of /metrics."""
        self._evaluator.add(at, text)
        self._at = at

    def told(self) -> Mapping[str, Any]:
        """Return the alerts that hold, the most urgent first, how many are evaluated, and which are left out."""
        found = [*self._evaluator.firing(), *self._evaluator.pending()]
        rows = [_row(one, self._at) for one in sorted(found, key=urgency)]
        return {"alerts": rows, "evaluated": self._count, "left_out": self._left_out}


def _baselines(name: str, path: Path) -> Baselines:
    """Return the baselines of a bundle, which the server verified when it began to serve it."""
    try:
        return read_baselines(path / CERTIFICATE, name)
    except EdgehoneError as error:
        missing = not (path / CERTIFICATE).is_file()
        return Baselines(name, {}, {}, reason="it is not certified" if missing else error.message)


def _row(one: Firing, at: float) -> Mapping[str, Any]:
    alert, figure = one.alert, one.figure
    return {
        "name": alert.name,
        "severity": alert.severity,
        "pending": one.pending,
        "model": one.labels.get("model", ""),
        "figure": figure if figure is not None and math.isfinite(figure) else None,
        "op": alert.op,
        "limit": alert.limit,
        "unit": alert.unit,
        "basis": alert.basis,
        "held_s": max(0.0, at - one.since),
        "for_s": alert.for_s,
        "says": one.says,
        "do": one.do,
    }

"""A graph of the null backend: scores of classes, for tests of what serves graphs.

No model is built to one: tests write the artifact themselves, by `make_graph`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WEIGHTS = "weights.npy"
_SETTINGS = "null_graph.json"
# Seconds that a batch takes longer which is asked to be slow.
_SLOW_SECONDS = 1.5


class NullGraphSession:
    """The product of `x` [n, features] with a matrix: `scores` [n, classes] and the best `class` [n].

    A batch takes as long as one sample, in real time. Its settings are those of `make_graph`.
    """

    def __init__(self, artifact: Path, settings: Mapping[str, Any]) -> None:
        import numpy as np

        self._weights = np.load(artifact / _WEIGHTS)
        self._told = json.loads((artifact / _SETTINGS).read_text("utf-8")) | dict(settings)
        self._runs = 0

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return both outputs. Raises InputError, or fails, for the first entry that `make_graph` was told of."""
        import numpy as np

        time.sleep(self._told["seconds"])
        rows = feeds["x"]
        if (rows == self._told["slow"]).any():
            time.sleep(_SLOW_SECONDS)
        if (rows == self._told["crash"]).any():
            os.abort()
        if (rows == self._told["fail"]).any():
            raise RuntimeError("the null backend was asked to fail")
        if (rows == self._told["refuse"]).any():
            raise InputError("the null backend was asked to refuse")
        if self._told["depends"]:
            rows = rows / np.abs(rows).max()
        self._runs += 1
        shift = self._told["shift"] if self._runs > self._told["right_runs"] else 0
        scores = rows @ self._weights + np.float32(shift)
        return {"scores": scores, "class": scores.argmax(1)}

    def close(self) -> None:
        """No-op: there is nothing to release."""


def make_graph(
    folder: Path,
    weights: NDArray[Any],
    *,
    seconds: float = 0.0,
    depends: bool = False,
    shift: float = 0.0,
    right_runs: int = 0,
    crash: float = 666.0,
    fail: float = 667.0,
    refuse: float = 668.0,
    slow: float = 669.0,
) -> Path:
    """Write the artifact of a graph with these weights [features, classes], float32.

    A batch takes so many `seconds`. With `depends`, a sample's scores depend on the others of its batch; `shift` is
    added to all scores after so many `right_runs`. The process ends, or the run fails, is refused or takes 1.5 s
    longer, for a batch with an entry of that value.
    """
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / _WEIGHTS, weights.astype(np.float32))
    told = {
        "seconds": seconds,
        "depends": depends,
        "shift": shift,
        "right_runs": right_runs,
        "crash": crash,
        "fail": fail,
        "refuse": refuse,
        "slow": slow,
    }
    (folder / _SETTINGS).write_text(json.dumps(told), "utf-8")
    return folder

"""numpy for modules that are imported long before they compute: it is imported when it is first used.

The import takes 60 ms of processor time, more than half of what importing a whole server takes. `np` is numpy in every
other respect; the types are for annotations.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Counts = NDArray[np.int64]
else:

    class _Numpy:
        """Imports numpy for the first name that is asked for, and keeps each name."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(importlib.import_module("numpy"), name)
            setattr(self, name, value)
            return value

    np = _Numpy()
    NDArray = Array = Counts = Any

__all__ = ["Array", "Counts", "NDArray", "np"]

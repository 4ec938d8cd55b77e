"""JSON text that is the same for equal data, so that its digest is, too."""

from __future__ import annotations

import json
from typing import Any


def canonical(data: Any) -> str:
    """Return JSON text that is the same for equal data."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

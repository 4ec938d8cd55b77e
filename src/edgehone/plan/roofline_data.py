"""The constants of the roofline model: roofline.toml."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """Return the contents of roofline.toml."""
    return tomllib.loads(Path(__file__).with_name("roofline.toml").read_text("utf-8"))

"""What watches a server in tests without a server process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgehone.serve.live_models import Models
from edgehone.serve.watching import Watching, WatchRules, watch


def watching_of(models: Models, **rules: Any) -> Watching:
    """Return what watches these models. Nothing is kept."""
    return watch(models.by_name.values(), WatchRules(**rules), Path(tempfile.gettempdir()), print)

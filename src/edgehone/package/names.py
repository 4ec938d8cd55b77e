"""The name that a package gives a model unless the user chooses one."""

from __future__ import annotations

import re
from pathlib import Path

from edgehone.bundle.schema import Manifest

# Of originals that are single files. The name of a folder may contain dots of its own.
_ENDINGS = re.compile(r"\.(gguf|onnx|pt2)$", re.IGNORECASE)


def original_name(manifest: Manifest) -> str:
    """Return the original's name without the ending of its file; "model" without one."""
    return _ENDINGS.sub("", Path(str(manifest.model.get("name") or "model")).name) or "model"

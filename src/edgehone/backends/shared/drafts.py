"""Which settings draft tokens: several tokens are then verified in one pass over the weights, and appear together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Settings that draft tokens: from the text so far, or by a smaller model in the artifact.
DRAFTING = ("prompt_lookup", "draft")


def drafts(settings: Mapping[str, Any]) -> bool:
    """Return True if the settings draft tokens."""
    return any(settings.get(name) for name in DRAFTING)

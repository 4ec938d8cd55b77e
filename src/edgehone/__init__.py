"""edgehone hones a model for an edge device, and proves it.

    import edgehone
    decision = edgehone.optimize("my-model", out="bundle")
    print(decision.chosen, decision.reason)

Everything public is listed here and loaded when it is first used, so that importing edgehone costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.bundle import Bundle, read, verify
    from edgehone.decide.decision import Candidate, Decision
    from edgehone.device import Device, detect
    from edgehone.errors import (
        EdgehoneError,
        InputError,
        JobError,
        ModelError,
        NothingPasses,
        SetupError,
        TextError,
    )
    from edgehone.events import Event
    from edgehone.figure import Figure
    from edgehone.model import ModelInfo, inspect
    from edgehone.optimize import optimize

_HOME = {
    "Bundle": "edgehone.bundle",
    "Candidate": "edgehone.decide.decision",
    "Decision": "edgehone.decide.decision",
    "Device": "edgehone.device",
    "EdgehoneError": "edgehone.errors",
    "Event": "edgehone.events",
    "Figure": "edgehone.figure",
    "InputError": "edgehone.errors",
    "JobError": "edgehone.errors",
    "ModelError": "edgehone.errors",
    "ModelInfo": "edgehone.model",
    "NothingPasses": "edgehone.errors",
    "SetupError": "edgehone.errors",
    "TextError": "edgehone.errors",
    "detect": "edgehone.device",
    "inspect": "edgehone.model",
    "optimize": "edgehone.optimize",
    "read": "edgehone.bundle",
    "verify": "edgehone.bundle",
}

__all__ = [
    "Bundle",
    "Candidate",
    "Decision",
    "Device",
    "EdgehoneError",
    "Event",
    "Figure",
    "InputError",
    "JobError",
    "ModelError",
    "ModelInfo",
    "NothingPasses",
    "SetupError",
    "TextError",
    "detect",
    "inspect",
    "optimize",
    "read",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgehone' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # `edgehone.optimize` is the function, not the module of that name
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

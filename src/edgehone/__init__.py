"""edgehone optimizes a model for an edge device, and proves the result.

    import edgehone
    decision = edgehone.optimize("my-model", out="bundle")
    print(decision.chosen, decision.reason)

The public names are listed here and imported at first use, so that `import edgehone` is fast.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.bundle import Bundle, read, verify
    from edgehone.core.errors import (
        EdgehoneError,
        InputError,
        JobError,
        ModelError,
        SetupError,
        TextError,
    )
    from edgehone.core.events import Event
    from edgehone.core.figure import Figure
    from edgehone.decision.decision import Candidate, Decision
    from edgehone.decision.errors import (
        NothingPasses,
    )
    from edgehone.device.detect import detect
    from edgehone.device.facts import Device
    from edgehone.model.info import ModelInfo
    from edgehone.model.inspect import inspect
    from edgehone.optimize.optimize import optimize

_HOME = {
    "Bundle": "edgehone.bundle",
    "Candidate": "edgehone.decision.decision",
    "Decision": "edgehone.decision.decision",
    "Device": "edgehone.device.facts",
    "EdgehoneError": "edgehone.core.errors",
    "Event": "edgehone.core.events",
    "Figure": "edgehone.core.figure",
    "InputError": "edgehone.core.errors",
    "JobError": "edgehone.core.errors",
    "ModelError": "edgehone.core.errors",
    "ModelInfo": "edgehone.model.info",
    "NothingPasses": "edgehone.decision.errors",
    "SetupError": "edgehone.core.errors",
    "TextError": "edgehone.core.errors",
    "detect": "edgehone.device.detect",
    "inspect": "edgehone.model.inspect",
    "optimize": "edgehone.optimize.optimize",
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
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """This module, with `edgehone.optimize` kept as the function.

    Importing a module of the package edgehone.optimize would bind that package as an attribute of its parent and hide
    the public function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "optimize" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

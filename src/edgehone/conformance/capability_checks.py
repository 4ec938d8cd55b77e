"""Core side: the optional names of a backend's module. A misspelled one would be ignored without an error."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from edgehone.backends.base import Step
from edgehone.backends.capabilities import CAPABILITIES, Capability, capabilities_of
from edgehone.backends.registry import REQUIRED
from edgehone.conformance.subject import Subject
from edgehone.worker.conformance.outcome import Check, Failed, demand

# Similarity (difflib's ratio) from which a name counts as a misspelling. In the built-in backends the name nearest to a
# capability's is `link_original`: 0.76 to `original`.
_SIMILAR = 0.8
_CONSTANTS: dict[str, type] = {"SENSITIVITY": Step, "ARTIFACT_FILE": str, "SESSIONS_OF": str}


def capability_names_are_spelled_correctly(subject: Subject) -> str:
    """No public function or constant of the module has a name that is almost that of a capability: it would be
    ignored, and the backend would silently lack the capability."""
    known = {name.lower(): name for one in CAPABILITIES for name in one.members}
    for name, value in vars(subject.backend).items():
        if name.startswith("_") or name in (*known.values(), *REQUIRED) or not _may_be_meant(name, value):
            continue
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_SIMILAR)
        demand(
            not near, f"{name} is unknown to edgehone; did you mean {' or '.join(known[n] for n in near)}?"
        )
    return f"{len(known)} optional names are known"


def capabilities_are_complete_and_callable(subject: Subject) -> str:
    """Each capability that the module has is complete, and its functions accept the arguments that edgehone passes:
    otherwise the first use fails, after everything has been built."""
    for one in CAPABILITIES:
        defined = [name for name in one.members if name in vars(subject.backend)]
        missing = sorted({*one.members} - {*defined})
        demand(not defined or not missing, f"{one.name}: {', '.join(defined)} without {', '.join(missing)}")
        for name in defined:
            _fits(one, name, vars(subject.backend)[name])
    return ", ".join(capabilities_of(subject.backend)) or "it has none"


def _may_be_meant(name: str, value: object) -> bool:
    """Return True for a function or a constant, the two things that a capability consists of."""
    function = callable(value) and not inspect.isclass(value)
    return function or (name.isupper() and not isinstance(value, ModuleType))


def _fits(one: Capability, name: str, value: object) -> None:
    """Raise Failed if a constant has the wrong type, or a function does not accept the arguments it is called with."""
    if name in _CONSTANTS:
        wanted = _CONSTANTS[name]
        demand(isinstance(value, wanted), f"{name} is {value!r}, not a {wanted.__name__}")
        return
    demand(callable(value), f"{name} is {value!r}, not a function")
    assert callable(value)
    if problem := _signature_problem(value, vars(one.protocol)[name]):
        raise Failed(f"{name}{inspect.signature(value)}: {problem}")


def _signature_problem(function: Callable[..., Any], wanted: Callable[..., Any]) -> str | None:
    """Return why the function cannot be called as the protocol's method is, or None if it can.

    Callers pass the method's parameters by position. Where the method accepts further keywords (`**request`), the
    function may name them as keyword-only parameters.
    """
    parameters = list(inspect.signature(wanted).parameters.values())[1:]  # without self
    positional = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    keywords = any(one.kind is one.VAR_KEYWORD for one in parameters)
    signature = inspect.signature(function)
    try:
        bound = signature.bind_partial(*positional)
    except TypeError as error:
        return f"it is called with ({', '.join(positional)}): {error}"
    for one in signature.parameters.values():
        if one.name in bound.arguments or one.default is not one.empty:
            continue
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) or (keywords and one.kind is one.KEYWORD_ONLY):
            continue
        return f"it is called with ({', '.join(positional)}), without {one.name}"
    if keywords and not any(p.kind in (p.VAR_KEYWORD, p.KEYWORD_ONLY) for p in signature.parameters.values()):
        return "it accepts no keyword for the request"
    return None


CHECKS: tuple[Check, ...] = (capability_names_are_spelled_correctly, capabilities_are_complete_and_callable)

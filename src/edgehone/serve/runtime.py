"""The runtime settings that an operator may change of a served bundle: what its backend takes, and the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Recipe, TunableSetting
from edgehone.backends.capabilities import ServingSettings, capability, tunable_settings
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.device.detect import detect
from edgehone.inference.run_bundle import context_of

THREADS = ("threads", "decode_threads")


def accepted(bundle: Bundle) -> Mapping[str, Sequence[Any]]:
    """Return the settings that the backend of a bundle takes, each with its values; the one in effect by default first.

    A number of threads may be any from 1 to that of the machine.
    """
    recipe, machine = _recipe(bundle), detect()
    backend = registry.load(recipe.backend)
    context = 0 if bundle.manifest.kind == "graph" else context_of(bundle) or 0
    found: list[TunableSetting] = list(tunable_settings(backend, recipe, machine, context))
    if bundle.manifest.kind == "language" and (own := capability(backend, ServingSettings)):
        found += own.serving_settings(recipe)
    values: dict[str, Sequence[Any]] = {}
    for one in found:
        if one.name in THREADS:
            values[one.name] = range(machine.threads, 0, -1)
        else:
            known = (recipe.settings.get(one.name, one.default), one.default, *one.values)
            values[one.name] = [*dict.fromkeys(value for value in known if value is not None)]
    if not recipe.device:
        values.setdefault("threads", range(machine.threads, 0, -1))  # common to all backends
    return values


def check_settings(bundle: Bundle, settings: Mapping[str, Any]) -> None:
    """Raise InputError unless the backend of a bundle takes these settings."""
    if not settings:
        return
    known = accepted(bundle)
    for name, value in settings.items():
        if name not in known:
            hint = suggest(name, known) if known else None
            raise InputError(f"{bundle.manifest.recipe['backend']} takes no setting {name!r}", hint=hint)
        if value not in known[name] or isinstance(value, bool) is not isinstance(known[name][0], bool):
            shown = ", ".join(map(str, known[name]))
            raise InputError(f"the setting {name} is {value!r}", hint=f"give one of {shown}")


def _recipe(bundle: Bundle) -> Recipe:
    stored, names = bundle.manifest.recipe, {one.name for one in fields(Recipe)}
    return Recipe(**{name: value for name, value in stored.items() if name in names})

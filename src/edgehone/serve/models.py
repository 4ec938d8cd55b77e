"""The kinds of models that are served."""

from __future__ import annotations

from collections.abc import Callable

from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.serve.model import LanguageModel, Model
from edgehone.serve.served import Limits, Served, ServedLanguage, read_language


def read_served(bundle: Bundle, name: str, limits: Limits, on_progress: Callable[[str], None]) -> Served:
    """Return what is served of a bundle. Verifies its files and installs its backend if needed.

    Raises InputError for a bundle that is not approved, changed, or of a kind that is not served.
    """
    if bundle.manifest.kind != "language":
        raise InputError(
            f"{bundle.path} is a graph; only language models are served", hint=f"edgehone run {bundle.path}"
        )
    return read_language(bundle, name, limits, on_progress)


def model_of(served: Served, say: Callable[[str], None]) -> Model:
    """Return the model of a bundle; `start` starts its engine."""
    assert isinstance(served, ServedLanguage)
    return LanguageModel(served, say)

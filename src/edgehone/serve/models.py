"""The kinds of models that are served: language models and graphs."""

from __future__ import annotations

from collections.abc import Callable

from edgehone.bundle.read import Bundle
from edgehone.serve.infer.model import GraphModel
from edgehone.serve.infer.served import ServedGraph, read_graph
from edgehone.serve.model import LanguageModel, Model
from edgehone.serve.served import Limits, Served, ServedLanguage, read_language


def read_served(bundle: Bundle, name: str, limits: Limits, on_progress: Callable[[str], None]) -> Served:
    """Return what is served of a bundle. Verifies its files and installs its backend if needed.

    Raises InputError for a bundle that is not approved, changed, or of a kind that is not served.
    """
    read = read_graph if bundle.manifest.kind == "graph" else read_language
    return read(bundle, name, limits, on_progress)


def model_of(served: Served, say: Callable[[str], None]) -> Model:
    """Return the model of a bundle; `start` starts its engine."""
    if isinstance(served, ServedGraph):
        return GraphModel(served, say)
    assert isinstance(served, ServedLanguage)
    return LanguageModel(served, say)

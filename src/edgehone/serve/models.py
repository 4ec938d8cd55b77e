"""The kinds of models that are served: language models and graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgehone.attestation.keys import VerificationKey
from edgehone.bundle.read import Bundle
from edgehone.serve.infer.model import GraphModel
from edgehone.serve.infer.served import ServedGraph, read_graph
from edgehone.serve.model import LanguageModel, Model
from edgehone.serve.runtime import check_settings
from edgehone.serve.served import Limits, Served, ServedLanguage, read_language
from edgehone.serve.trust import trusted


def read_served(
    bundle: Bundle,
    name: str,
    limits: Limits,
    on_progress: Callable[[str], None],
    key: VerificationKey | None = None,
) -> Served:
    """Read a bundle to be served. Verifies its files and installs its backend if needed.

    With a `key` it must be signed by whom the key accepts, and approved. Raises InputError for a bundle that is not
    approved, changed, or of a kind that is not served, and for settings that its backend does not take.
    """
    check_settings(bundle, limits.settings)
    found = trusted(bundle.path, key, on_progress)
    read = read_graph if bundle.manifest.kind == "graph" else read_language
    return replace(read(bundle, name, limits, on_progress), trusted=found, limits=limits)


def model_of(served: Served, say: Callable[[str], None]) -> Model:
    """Return the model of a bundle; `start` starts its engine."""
    if isinstance(served, ServedGraph):
        return GraphModel(served, say)
    assert isinstance(served, ServedLanguage)
    return LanguageModel(served, say)

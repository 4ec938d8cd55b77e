"""The kinds of models that are served: language models and graphs. Only what a bundle needs is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from edgehone.attestation.keys import VerificationKey
from edgehone.bundle.read import Bundle
from edgehone.serve.served import Limits, Served, ServedLanguage, read_language
from edgehone.serve.trust import trusted

if TYPE_CHECKING:
    from edgehone.serve.model import Model


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
    if limits.settings:
        from edgehone.serve.runtime import check_settings

        check_settings(bundle, limits.settings)
    found = trusted(bundle.path, key, on_progress)
    served = _read_graph if bundle.manifest.kind == "graph" else read_language
    return replace(served(bundle, name, limits, on_progress), trusted=found, limits=limits)


def _read_graph(bundle: Bundle, name: str, limits: Limits, on_progress: Callable[[str], None]) -> Served:
    from edgehone.serve.infer.served import read_graph

    return read_graph(bundle, name, limits, on_progress)


def model_of(served: Served, say: Callable[[str], None]) -> Model:
    """Return the model of a bundle; `start` starts its engine."""
    if isinstance(served, ServedLanguage):
        from edgehone.serve.model import LanguageModel

        return LanguageModel(served, say)
    from edgehone.serve.infer.model import GraphModel
    from edgehone.serve.infer.served import ServedGraph

    assert isinstance(served, ServedGraph)
    return GraphModel(served, say)

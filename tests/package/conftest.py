"""Fixtures of the tests of packages: the targets of the tests, bundles of real backends, and a real Triton."""

from __future__ import annotations

import pytest

from edgehone.core.distributions import EntryPoint
from edgehone.package import registry
from tests.package.onnx_bundles import digits_answers, digits_bundle, onnx_bundle
from tests.package.triton import tritonserver
from tests.serve.conftest import bundle_of

__all__ = ["bundle_of", "digits_answers", "digits_bundle", "onnx_bundle", "registered", "tritonserver"]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the target `boxed` of the tests beside the built-in ones."""
    points = dict(registry._registered())
    points["boxed"] = EntryPoint("boxed", "tests.package.boxed", "tests")
    monkeypatch.setattr(registry, "_registered", lambda: points)

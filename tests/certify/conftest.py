"""Bundles of real engines, as the tests of the server make them."""

from tests.serve.conftest import bundle_of

__all__ = ["bundle_of"]  # a fixture

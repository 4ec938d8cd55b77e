"""Bundles for rollouts."""

from __future__ import annotations

from tests.serve.conftest import chatty

__all__ = ["chatty"]

"""Bundles for rollouts."""

from __future__ import annotations

from tests.disks import tmp_path
from tests.serve.conftest import chatty

__all__ = ["chatty", "tmp_path"]

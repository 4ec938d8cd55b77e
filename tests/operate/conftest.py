"""Fixtures of the tests of operate."""

from __future__ import annotations

from tests.disks import tmp_path

__all__ = ["tmp_path"]  # a fixture

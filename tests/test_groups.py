"""The groups of pytest-xdist: tests that measure run one after another, in one process."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("measures")
def test_a_group_is_scheduled_as_one(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("groups exist with --dist loadgroup alone")
    assert request.node.nodeid.endswith("@measures")  # what pytest-xdist schedules by

"""How much is measured: the shipped efforts, and a user's own over them."""

from __future__ import annotations

from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.optimize.context import effort_settings


def test_what_the_user_sets_goes_over_the_shipped_effort_of_that_name() -> None:
    own = {"efforts": {"quick": {"rounds": 2, "seconds": 0.1}}}
    found = effort_settings("quick", own)
    assert (found.rounds, found.seconds, found.windows) == (2, 0.1, effort_settings("quick").windows)
    assert effort_settings("normal", own) == effort_settings("normal") == effort_settings("normal", {})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"swift": {}}, "unknown effort 'swift'"),
        ({"quick": {"turns": 2}}, "unknown key 'turns' in"),
        ({"quick": {"rounds": 1}}, "rounds is 1"),
        ({"quick": {"rounds": 2.5}}, "rounds is 2.5"),
        ({"quick": {"seconds": -1}}, "seconds is -1"),
        ({"quick": {"seconds": float("nan")}}, "seconds is nan"),
        ({"quick": {"windows": "many"}}, "windows is 'many'"),
        ({"quick": {"windows": True}}, "windows is True"),
        ({"quick": 3}, "is 3, not a table"),
        (3, "is 3, not a table"),
    ],
)
def test_what_cannot_be_is_refused(table: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        effort_settings("quick", {"efforts": table})

"""Drafts from the text so far."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.shared.prompt_lookup import LENGTHS, Lookup

IDS = st.lists(st.integers(0, 3), max_size=40)


def searched(ids: list[int], most: int) -> list[int]:
    """Look through the whole text for the latest earlier place of its last tokens, the longest n-gram first."""
    for length in LENGTHS:
        for start in range(len(ids) - length - 1, -1, -1):
            if len(ids) >= length and ids[start : start + length] == ids[-length:]:
                return ids[start + length : start + length + most]
    return []


@given(IDS, IDS, st.integers(1, 6))
def test_it_finds_what_a_search_of_the_text_finds(prompt: list[int], answer: list[int], most: int) -> None:
    lookup = Lookup(prompt)
    for token in answer:
        lookup.add(token)
        prompt = [*prompt, token]
        assert lookup.draft(most) == searched(prompt, most)


def test_what_follows_the_latest_occurrence_is_drafted() -> None:
    assert Lookup([1, 2, 3, 7, 1, 2, 3, 8, 9, 1, 2, 3]).draft(2) == [8, 9]


def test_new_tokens_have_no_draft() -> None:
    assert Lookup([1, 2, 3, 4]).draft(4) == []
    assert Lookup([]).draft(4) == []

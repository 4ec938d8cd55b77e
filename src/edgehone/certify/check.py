"""The form of a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgehone.attestation.certificate import Category
from edgehone.certify.found import Found
from edgehone.certify.profile import Rule
from edgehone.certify.subject import Subject

BOTH = ("language", "graph")


@dataclass(frozen=True)
class Check:
    """A check: its name in the profile, its category, what it looks at in a few words, and the function that makes it.

    `kinds` are the kinds of models that it is for.
    """

    name: str
    category: Category
    looks_at: str
    make: Callable[[Subject, Rule], Found]
    kinds: tuple[str, ...] = BOTH

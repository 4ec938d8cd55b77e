"""A cheap guess of the language of a text: its script, and for Latin script common short words."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

UNKNOWN = "other"
# So many characters of a text's beginning are read.
_READ = 96


@dataclass(frozen=True)
class _Table:
    scripts: tuple[tuple[str, int, int], ...]
    words: dict[str, str]


def guess(text: str) -> str:
    """Return the script or the language of a text; "other" if nothing tells it."""
    read = text[:_READ]
    if not read.isascii() and (script := _script(read)):
        return script
    votes = list(filter(None, map(_table().words.get, read.lower().split())))
    if not votes:
        return UNKNOWN
    first = votes[0]
    # The first of those that are equally common.
    return first if 2 * votes.count(first) >= len(votes) else max(dict.fromkeys(votes), key=votes.count)


def order(languages: Sequence[str]) -> tuple[str, ...]:
    """Return the languages of a reference, the commonest first; equally common ones by name."""
    counts = Counter(languages)
    return tuple(sorted(counts, key=lambda one: (-counts[one], one)))


def _script(text: str) -> str | None:
    """Return the commonest script other than Latin if at least a third of the letters belong to it."""
    letters = [ord(one) for one in text if one > "\u02ff"]
    if not letters:
        return None
    found = Counter(name for point in letters for name, low, high in _table().scripts if low <= point <= high)
    if not found:
        return None
    name, count = found.most_common(1)[0]
    return name if 3 * count >= sum(map(str.isalpha, text)) else None


@cache
def _table() -> _Table:
    data = tomllib.loads(Path(__file__).with_name("languages.toml").read_text("utf-8"))
    owners: dict[str, list[str]] = {}
    for language, words in data["words"].items():
        for word in words.split():
            owners.setdefault(word, []).append(language)
    # A word of two languages would vote for the one that stands first.
    words = {word: languages[0] for word, languages in owners.items() if len(languages) == 1}
    return _Table(tuple((name, low, high) for name, (low, high) in data["scripts"].items()), words)

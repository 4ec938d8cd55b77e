"""Compare a backend's own tokenizer with the original's: the share of differing ids, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from edgehone.core.figure import Figure

# Ids are aligned in parts of this many, since the time of an alignment grows with the square of its length. A shift of
# up to as many ids is followed.
PART = 256
_LISTED = 6


@dataclass(frozen=True)
class TokenComparison:
    """The result for one backend.

    `mismatch` is the larger share of differing ids of the evaluation text and the plain text, after the ids that start
    a text. `equal` says that all texts have equal ids. `notes` lists the differences that do not disqualify, `fault` is
    the one that does, or None.
    """

    mismatch: Figure
    equal: bool
    notes: tuple[str, ...] = ()
    fault: str | None = None


def compare(
    texts: Sequence[Mapping[str, Any]],
    ids: Sequence[Sequence[int]],
    bos: Sequence[int],
    limit: float,
    *,
    portable: bool,
) -> TokenComparison:
    """Compare the ids of a backend with those of the original in `texts` (parity.json of `worker.prepare`).

    `limit` is the largest allowed mismatch. With `portable` the bundle carries the original's tokenizer and feeds its
    ids, so differences in the ids that start a text, in the chat template and around special tokens are only noted.
    Without it the first two disqualify as well.
    """
    starts = [_without(bos, found) for found in ids]
    lacks_bos = bool(bos) and not all(has for has, _ in starts)
    pairs = [
        (one, _without(bos, one["ids"])[1], found) for one, (_, found) in zip(texts, starts, strict=True)
    ]
    shares = {
        one["kind"]: (differing(original, found), len(original))
        for one, original, found in pairs
        if one["kind"] in ("evaluation", "plain")
    }
    kind = max(shares, key=lambda name: shares[name][0] / max(1, shares[name][1]))
    count, length = shares[kind]
    mismatch = Figure(count / max(1, length), n=length, unit="share")
    serious, notes = list[str](), list[str]()
    if count > limit * length:
        where = "the evaluation text" if kind == "evaluation" else "a plain text"
        original, found = next((a, b) for one, a, b in pairs if one["kind"] == kind)
        serious.append(
            f"its tokenizer returns other ids for {count / length:.2%} of {where} (at most {limit:.1%}): "
            f"{_first_difference(original, found)}"
        )
    others = notes if portable else serious
    if lacks_bos:
        others.append(f"its own tokenizer does not start a text with {list(bos)}")
    if any(one["kind"] == "template" and list(a) != list(b) for one, a, b in pairs):
        others.append("its own tokenizer returns other ids for the rendered chat template")
    notes += _special(pairs)
    equal = not lacks_bos and all(list(a) == list(b) for _, a, b in pairs)
    return TokenComparison(mismatch, equal, tuple(notes), "; ".join(serious) or None)


def differing(original: Sequence[int], found: Sequence[int]) -> int:
    """Return the number of ids to change, insert or delete in `found` to make it `original`.

    A replaced run counts as the longer of its two sides. Long sequences are aligned part by part, and each part begins
    where the last one ended, so that an inserted id does not make everything after it differ.
    """
    a, b = list(original), list(found)
    count, at, other_at = 0, 0, 0
    while at < len(a) and other_at < len(b):
        head, other = a[at : at + PART], b[other_at : other_at + PART]
        if head == other:
            done = (len(head), len(other))
        else:
            missed, done = _align(head, other, last=len(a) - at <= PART and len(b) - other_at <= PART)
            count += missed
        at, other_at = at + done[0], other_at + done[1]
    return count + (len(a) - at) + (len(b) - other_at)


def _align(a: list[int], b: list[int], *, last: bool) -> tuple[int, tuple[int, int]]:
    """Return the number of differing ids up to the end of the last match, and the ids of each side up to there.

    If little matches, or these are the `last` parts, it is the number in both whole parts.
    """
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    if not last and len(blocks) > 1 and blocks[-2].a + blocks[-2].size > len(a) // 2:
        blocks = blocks[:-1]
    count, at, other_at = 0, 0, 0
    for block in blocks:
        count += max(block.a - at, block.b - other_at)
        at, other_at = block.a + block.size, block.b + block.size
    return count, (at, other_at)


def _without(bos: Sequence[int], ids: Sequence[int]) -> tuple[bool, list[int]]:
    """Return whether `ids` begin with `bos`, and the ids after it."""
    has = list(ids[: len(bos)]) == list(bos)
    return has, list(ids[len(bos) :] if has else ids)


def _special(pairs: Sequence[tuple[Mapping[str, Any], list[int], list[int]]]) -> list[str]:
    """Return a note on the texts with literal special tokens whose ids differ."""
    differing = [
        f"{one['text']!r} is {b} instead of {a}" for one, a, b in pairs if one["kind"] == "special" and a != b
    ]
    if not differing:
        return []
    more = f" and {len(differing) - _LISTED} more" if len(differing) > _LISTED else ""
    listed = ", ".join(differing[:_LISTED])
    return [f"its own tokenizer reads special tokens written in a text differently: {listed}{more}"]


def _first_difference(original: Sequence[int], found: Sequence[int]) -> str:
    for i, (a, b) in enumerate(zip(original, found, strict=False)):
        if a != b:
            return f"the first is {b} at position {i}, the original's is {a}"
    return f"it returns {len(found)} ids, the original's {len(original)}"

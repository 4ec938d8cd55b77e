"""Suggest the known name that is closest to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable


def suggest(word: object, known: Iterable[str], then: str | None = None, *, cutoff: float = 0.6) -> str:
    """Return a hint for an unknown word: "did you mean 'int8'? known: int4, int8".

    The question is left out if no known name is similar: difflib's ratio of matching characters, from 0 to 1, must
    be at least `cutoff`. `then` replaces the list of known names; "" leaves it out.
    """
    from difflib import get_close_matches  # only mistakes need it

    names = list(known)
    close = get_close_matches(str(word), names, n=1, cutoff=cutoff)
    rest = f"known: {', '.join(names)}" if then is None else then
    return " ".join(part for part in (f"did you mean {close[0]!r}?" if close else "", rest) if part)

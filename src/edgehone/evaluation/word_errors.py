"""How far the words of generated texts differ from those of other texts: the word error rate."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st

# Punctuation does not count, nor do capitals: transcripts are written with or without them.
_NO_WORD = re.compile(r"[^\w\s']")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return _NO_WORD.sub(" ", text.lower()).split()


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the least number of words to insert, delete or replace to get one from the other (Levenshtein)."""
    row = list(range(len(other) + 1))
    for at, word in enumerate(one, 1):
        before, row[0] = row[0], at
        for column, candidate in enumerate(other, 1):
            before, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, before + (word != candidate)),
            )
    return row[-1]


def rate(texts: Sequence[str], truths: Sequence[str]) -> Figure:
    """Return the word errors of all texts as a share of the words of all truths; the texts are the samples.

    It may exceed 1. Missing if the truths have no word.
    """
    import numpy as np

    pairs = [(words(text), words(truth)) for text, truth in zip(texts, truths, strict=True)]
    errors = np.array([distance(text, truth) for text, truth in pairs], np.float64)
    counts = np.array([len(truth) for _, truth in pairs], np.float64)
    if not counts.sum():
        return Figure.missing("the texts to compare with have no words", "share")
    value, n = float(errors.sum() / counts.sum()), len(pairs)
    if n < 2:
        return Figure(value, n=n, unit="share")
    if not errors.any():  # a difference in one of n samples may have been missed
        return Figure(0.0, 0.0, 1.0 - st.no_difference(n), n, "share")
    return st.clustered_ratio(errors, counts, np.arange(n)).figure("share", least=0.0)

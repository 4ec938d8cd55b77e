"""Read a backend's data files: the recipes that fit a model, and lists of names such as supported architectures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.base import EFFORTS, Effort


def fitting(
    entries: Iterable[Mapping[str, Any]], fits: Callable[[Mapping[str, Any]], bool]
) -> Iterator[tuple[Mapping[str, Any], Effort]]:
    """Yield the entries that fit a model, in order, each with the effort at which it is tried.

    An entry that does not fit passes its effort on: the next fitting entry of the same `family` is tried at the
    lower of the two efforts.
    """
    inherited: dict[str, Effort] = {}
    for entry in entries:
        effort, family = entry["effort"], entry["family"]
        if fits(entry):
            yield entry, min(effort, inherited.pop(family, effort), key=EFFORTS.index)
        else:
            inherited[family] = min(effort, inherited.get(family, effort), key=EFFORTS.index)


def read_names(path: Path) -> frozenset[str]:
    """Return the lines of a text file, without empty lines and lines that start with `#`."""
    lines = path.read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))

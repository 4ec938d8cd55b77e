"""Read the text format of Prometheus, as far as alerts need it."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

_LINE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*\Z", re.ASCII
)
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_LABEL = re.compile(
    r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,[ \t]*|\Z)', re.ASCII
)
_ESCAPED = re.compile(r"\\(.)")

Labels = tuple[tuple[str, str], ...]  # sorted by name


def samples(text: str, metrics: Container[str]) -> Iterator[tuple[str, Labels, float]]:
    """Yield metric, labels and value of each sample of these metrics.

    Raises ValueError, with the line, for text that is not in Prometheus' format 0.0.4.
    """
    for line in text.split("\n"):
        if not line or line[0] == "#":
            continue
        name = _NAME.match(line)
        if name and name[0] not in metrics:
            continue
        found = _LINE.match(line)
        if not found:
            if line.isspace():
                continue
            raise ValueError(f"no line of Prometheus' text format: {line[:80]!r}")
        yield found[1], _labels(found[2] or "", line), _number(found[3], line)


def _labels(text: str, line: str) -> Labels:
    found, at = {}, 0
    while at < len(text):
        one = _LABEL.match(text, at)
        if not one:
            raise ValueError(f"labels that cannot be read: {line[:80]!r}")
        found[one[1]] = _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], one[2])
        at = one.end()
    return tuple(sorted(found.items()))


def _number(text: str, line: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"no number at the end: {line[:80]!r}") from None

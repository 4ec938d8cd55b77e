"""The frontier as a text plot within 80 columns: latency on the horizontal axis, divergence on the vertical one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgehone.decision.decision import Candidate, Decision
from edgehone.report.axis import Axis, axis
from edgehone.report.figures import label, shape

_ACROSS = ("workload_latency_ms", "bytes")
_UP = ("kl_mean", "relative_error", "accuracy_kept")
_WIDTH, _HEIGHT, _LEFT = 66, 13, 10
# Chosen, original, on the frontier, not on the frontier; vertical axis, horizontal axis, corner.
_PLAIN = ("*", "o", "+", ".", "|", "-", "+")
_UNICODE = ("◆", "□", "●", "○", "│", "─", "└")


def plot(decision: Decision, *, unicode: bool) -> str:
    """Return a plot of all measured candidates, or an empty string if fewer than two have both figures.

    It uses ASCII characters unless `unicode`. The chosen candidate is labelled, then the original, then candidates on
    the frontier as far as there is room.
    """
    measured = [one for one in (decision.baseline, *decision.candidates) if one.status == "ok"]
    names = [next((n for n in known if _count(measured, n) > 1), None) for known in (_ACROSS, _UP)]
    across, up = names
    if across is None or up is None:
        return ""
    shown = [one for one in measured if None not in (one.figure(across).value, one.figure(up).value)]
    x, y = _Side.of(shown, across), _Side.of(shown, up)
    signs = _UNICODE if unicode else _PLAIN
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    placed = sorted(((_weight(one, decision), one) for one in shown), key=lambda pair: -pair[0])
    spots = {one.key: _spot(one, x, y) for _, one in placed}
    for weight, one in placed:  # the chosen candidate last, on top of the others
        column, line = spots[one.key]
        grid[line][column] = signs[weight]
    for weight, one in reversed(placed):
        if weight < 3:
            _name(grid, spots[one.key], "the original" if weight == 1 else one.key)
    text = "\n".join([*_framed(grid, x, y, signs), "", _legend(decision, signs)])
    return text if unicode else _ascii(text)


def _count(measured: list[Candidate], name: str) -> int:
    return sum(one.figure(name).value is not None for one in measured)


@dataclass(frozen=True)
class _Side:
    """An axis of the plot: its figure, scale and label."""

    name: str
    scale: Axis
    label: str

    @classmethod
    def of(cls, shown: list[Candidate], name: str) -> _Side:
        unit = shown[0].figure(name).unit
        scale = axis(name, unit, [v for one in shown if (v := one.figure(name).value) is not None])
        return cls(name, scale, f"{label(name, unit)}, {'less' if shape(name).less else 'more'} is better")

    def share(self, one: Candidate) -> float:
        return self.scale.at(one.figure(self.name).value or 0.0) / 100


def _weight(one: Candidate, decision: Decision) -> int:
    """Return the index of the candidate's sign."""
    if one is decision.baseline:
        return 1
    return 0 if one.key == decision.bundled else 2 if one.on_frontier else 3


def _spot(one: Candidate, x: _Side, y: _Side) -> tuple[int, int]:
    return round(x.share(one) * (_WIDTH - 1)), _HEIGHT - 1 - round(y.share(one) * (_HEIGHT - 1))


def _name(grid: list[list[str]], spot: tuple[int, int], word: str) -> None:
    """Write the word to the right or left of its mark if there is room."""
    column, line = spot
    row = grid[line]
    for start in (column + 2, column - 1 - len(word)):
        around = row[max(0, start - 1) : start + len(word) + 1]
        free = around[1:] if start > column else around[:-1]
        if start >= 0 and start + len(word) <= _WIDTH and set(free) <= {" "}:
            row[start : start + len(word)] = word
            return


def _framed(grid: list[list[str]], x: _Side, y: _Side, signs: tuple[str, ...]) -> list[str]:
    """Return the grid with axes, ticks and labels."""
    ticks = {_HEIGHT - 1 - round(position / 100 * (_HEIGHT - 1)): text for position, text in y.scale.ticks}
    lines = [f"up: {y.label}; across: {x.label}", ""]
    lines += [f"{ticks.get(i, ''):>{_LEFT}} {signs[4]}{''.join(row)}".rstrip() for i, row in enumerate(grid)]
    lines.append(f"{'':{_LEFT}} {signs[6]}{signs[5] * _WIDTH}")
    below = [" "] * (_WIDTH + 12)
    end = -2
    for position, text in x.scale.ticks:
        start = max(0, round(position / 100 * (_WIDTH - 1)) - len(text) // 2)
        if start > end + 1 and start + len(text) <= _WIDTH + 2:
            below[start : start + len(text)] = text
            end = start + len(text)
    lines.append(f"{'':{_LEFT + 2}}{''.join(below)}".rstrip())
    return lines


def _legend(decision: Decision, signs: tuple[str, ...]) -> str:
    words = (decision.bundled or "chosen", "the original", "on the frontier", "not on the frontier")
    return "   ".join(f"{sign} {word}" for sign, word in zip(signs, words, strict=False))


def _ascii(text: str) -> str:
    """Return the text with powers of ten as 1e-5 and an ASCII minus sign."""
    text = text.replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return re.sub(r"\b10(-\d+)", r"1e\1", re.sub(r" × 10(-\d+)", r"e\1", text))

"""The stages of a run as a graph, in SVG: an arrow from each stage to those that need it, and figures in the boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edgehone.pipeline.result import Result
from edgehone.pipeline.stage import Stage
from edgehone.report.html.tag import Html, tag

# In units of the drawing: a box without figures, a line of them, and the gaps between boxes.
_WIDTH, _HEIGHT, _LINE, _ACROSS, _DOWN = 240, 64, 18, 24, 26
_PER_ROW: Final = 4
# Figures of a stage that have room, and the characters of each that fit into the box.
_FIGURES, _CHARACTERS = 2, 30
_MARK: Final[Mapping[str, str]] = {
    "passed": "✓",
    "failed": "✗",
    "waiting": "…",
    "blocked": "–",
    "skipped": "✓",
}
_COLOUR: Final[Mapping[str, str]] = {
    "passed": "var(--good)",
    "skipped": "var(--good)",
    "failed": "var(--bad)",
    "waiting": "var(--warn-line)",
}
_Place = tuple[int, int]


def graph(stages: Sequence[Stage], results: Mapping[str, Result]) -> Html:
    """Return the drawing. It has a title for screen readers, and links to the sections of the page."""
    lines = max((len(one.figures[:_FIGURES]) for one in results.values()), default=0)
    tall = _HEIGHT + lines * _LINE
    places = {one.name: _place(number, tall) for number, one in enumerate(stages)}
    arrows = [_arrow(places[one.needs], places[one.name], tall) for one in stages if one.needs]
    boxes = [_box(one.name, places[one.name], tall, results.get(one.name)) for one in stages]
    columns, rows = min(len(stages), _PER_ROW), -(-len(stages) // _PER_ROW)
    width, height = columns * (_WIDTH + _ACROSS) - _ACROSS + 2, rows * (tall + _DOWN) - _DOWN + 2
    told = ", ".join(f"{one.name} {_state(results.get(one.name))}" for one in stages)
    return tag(
        "div",
        tag(
            "svg",
            tag("title", f"Stages: {told}"),
            *arrows,
            *boxes,
            viewBox=f"-1 -1 {width} {height}",
            role="img",
            style=f"width:100%;max-width:{width}px;display:block",
        ),
        class_="wide",
    )


def _place(number: int, tall: int) -> _Place:
    """Return the upper left corner of a box. Rows run to the right and back, so that arrows are short."""
    row, column = divmod(number, _PER_ROW)
    column = column if row % 2 == 0 else _PER_ROW - 1 - column
    return column * (_WIDTH + _ACROSS), row * (tall + _DOWN)


def _arrow(start: _Place, end: _Place, tall: int) -> Html:
    """Return the line between two boxes, with its head; one that passes over other boxes runs below or above them."""
    (x, y), (to_x, to_y) = start, end
    line = "fill:none;stroke:var(--soft);stroke-width:1.5"
    if y == to_y:
        step = 1 if to_x > x else -1
        left, right = (x + _WIDTH, to_x) if step > 0 else (x, to_x + _WIDTH)
        middle = y + tall / 2
        near = abs(to_x - x) <= _WIDTH + _ACROSS
        if near:
            path = f"M{left} {middle}H{right - 7 * step}"
            head = f"M{right} {middle}l{-8 * step} -4v8z"
        else:
            over = y + tall + _DOWN / 2
            to = to_x + _WIDTH / 2
            path = f"M{x + _WIDTH / 2} {y + tall}V{over}H{to}V{y + tall + 7}"
            head = f"M{to} {y + tall}l-4 8h8z"
    else:
        from_x, to = x + _WIDTH / 2, to_x + _WIDTH / 2
        between = y + tall + _DOWN / 2
        path = f"M{from_x} {y + tall}V{between}H{to}V{to_y - 7}"
        head = f"M{to} {to_y}l-4 -8h8z"
    return tag("g", tag("path", d=path, style=line), tag("path", d=head, style="fill:var(--soft)"))


def _box(name: str, place: _Place, tall: int, result: Result | None) -> Html:
    state = _state(result)
    colour = _COLOUR.get(state, "var(--line)")
    x, y = place
    shown = "unchanged" if state == "skipped" else state
    took = f" in {result.seconds:.1f} s" if result and result.seconds and state == "passed" else ""
    frame = f"fill:var(--tint);stroke:{colour};stroke-width:1.5"
    figures = [_short(one) for one in result.figures[:_FIGURES]] if result else []
    box = tag(
        "g",
        tag("rect", width=_WIDTH, height=tall, rx=6, style=frame),
        tag("text", name, x=12, y=27, style="fill:var(--ink);font-size:13px;font-weight:600"),
        tag("text", f"{_MARK.get(state, '·')} {shown}{took}", x=12, y=48, style=_words(state, colour)),
        *(
            tag("text", one, x=12, y=50 + _LINE * line, style="fill:var(--ink);font-size:12.5px")
            for line, one in enumerate(figures, 1)
        ),
        transform=f"translate({x} {y})",
    )
    return tag("a", box, href=f"#{name}") if result else box


def _short(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"


def _words(state: str, colour: str) -> str:
    return f"font-size:12.5px;fill:{colour if state in ('passed', 'skipped', 'failed') else 'var(--soft)'}"


def _state(result: Result | None) -> str:
    return "not run" if result is None else "skipped" if result.skipped else result.outcome

"""Show views: as tables that replace each other on a terminal, as one line each elsewhere, or as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edgehone.monitor.live.view import AlertView, ModelView, View
from edgehone.report.figures import number, significant

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_NONE = "–"
_MACHINE = (
    ("memory_available_bytes", "available memory", "bytes"),
    ("cpu_pressure_ratio", "waited for a processor", "share"),
    ("temperature_celsius", "temperature", "°C"),
    ("disk_free_bytes", "free disk", "bytes"),
)


def to_json(view: View) -> dict[str, Any]:
    """Return a view as JSON data."""
    found: dict[str, Any] = msgspec.to_builtins(view)
    return found


def to_line(view: View) -> str:
    """Return a view in one line."""
    parts = [_clock(view.at)]
    if view.unreachable_since is not None:
        parts.append(_unreachable(view))
    else:
        parts += [_model_line(one) for one in view.models]
    parts += [_one_line(f"ALERT {one.name}: {one.says}") for one in view.alerts if not one.pending]
    return " | ".join(parts)


def to_tables(view: View) -> RenderableType:
    """Return a view as tables for a terminal."""
    from rich.console import Group
    from rich.text import Text

    over = f"rates and quantiles of the last {view.over_s:.0f} s" if view.over_s else "rates follow"
    head = Text.assemble((view.url, "bold"), f"  {_clock(view.at)}  ", (over, "dim"))
    parts: list[RenderableType] = [head]
    if view.unreachable_since is not None:
        parts.append(Text(_unreachable(view), "bold red"))
        parts.append(Text("The figures below are those of the last scrape.", "dim"))
    parts += [Text(), _models_table(view.models), Text()]
    if machine := _machine_text(view):
        parts.append(machine)
    parts.append(_attacks_text(view))
    parts.append(_alerts_table(view.alerts) if view.alerts else Text("no alert", "green"))
    return Group(*parts)


_Row = tuple[str, Callable[[ModelView], str], Callable[[ModelView], str]]


def _rows() -> Sequence[_Row]:
    """Return the rows of the table: name, text of a model, and its style."""

    def plain(model: ModelView) -> str:
        return ""

    def red(bad: Callable[[ModelView], object]) -> Callable[[ModelView], str]:
        return lambda model: "red" if bad(model) else ""

    return (
        ("state", _state, lambda model: "green" if model.ready else "bold red"),
        ("requests/s", lambda model: _plain(model.requests_per_s), plain),
        ("failed/s", lambda model: _plain(model.failed_per_s), red(lambda model: model.failed_per_s)),
        ("refused/s (queue full)", lambda model: _plain(model.refused_per_s), red(lambda model: model.refused_per_s)),
        ("latency p50", lambda model: seconds(model.p50_s), plain),
        ("latency p95", lambda model: seconds(model.p95_s), plain),
        ("latency p99", lambda model: seconds(model.p99_s), plain),
        ("first token p95", lambda model: seconds(model.first_token_p95_s), plain),
        ("further token p50", lambda model: seconds(model.token_p50_s), plain),
        ("tokens/s", lambda model: _plain(model.tokens_per_s), plain),
        ("running, waiting", lambda model: f"{model.running:.0f}, {model.waiting:.0f}", plain),
        ("engine restarts", lambda model: f"{model.restarts:.0f}", plain),
        ("processors", lambda model: _plain(model.processors), plain),
        ("memory", lambda model: _bytes(model.memory_bytes), plain),
        ("drift", _drift, red(lambda model: model.drift_alarms)),
        ("changed files", lambda model: _plain(model.changed_files), red(lambda model: model.changed_files)),
    )  # fmt: skip


def _models_table(models: Sequence[ModelView]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", style="dim", no_wrap=True)
    for model in models:
        # Names and problems come from the server: they are text, not markup.
        table.add_column(Text(model.name), overflow="fold")
    for name, text, style in _rows():
        cells = [Text(text(model), style(model)) for model in models]
        if any(cell.plain != _NONE for cell in cells):
            table.add_row(Text(name), *cells)
    return table


def _machine_text(view: View) -> Text | None:
    from rich.text import Text

    known = [
        f"{name} {_with_unit(view.machine[key], unit)}" for key, name, unit in _MACHINE if key in view.machine
    ]
    if view.machine.get("throttled"):
        known.append("throttled")
    return Text(f"machine: {', '.join(known)}", "dim") if known else None


def _attacks_text(view: View) -> Text:
    from rich.text import Text

    told = [f"{name.replace('_', ' ')} {significant(value)}" for name, value in view.attacks_per_min.items()]
    return Text(f"per minute: {', '.join(told)}", "yellow") if told else Text()


def _alerts_table(alerts: Sequence[AlertView]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for name in ("alert", "for", "value", "limit"):
        table.add_column(name, no_wrap=True)
    table.add_column("", ratio=1)
    for one in alerts:
        style = "dim" if one.pending else "bold red" if one.severity == "page" else "yellow"
        name = f"{one.name}{' (pending)' if one.pending else ''}"
        value = _NONE if one.figure is None else _with_unit(one.figure, one.unit)
        limit = _with_unit(one.limit, one.unit)
        cells = (name, _span(one.since_s), value, limit, _one_line(f"{one.says}. {one.do}"))
        table.add_row(*(Text(cell, style) for cell in cells))
    return table


def _model_line(model: ModelView) -> str:
    figures = [
        f"{model.name} {_one_line(_state(model))}",
        f"{_plain(model.requests_per_s)} requests/s",
        f"failed {_plain(model.failed_per_s)}/s",
        f"p50 {seconds(model.p50_s)} p95 {seconds(model.p95_s)} p99 {seconds(model.p99_s)}",
        f"{_plain(model.tokens_per_s)} tokens/s",
        f"running {model.running:.0f} waiting {model.waiting:.0f}",
        f"memory {_bytes(model.memory_bytes)}",
        f"drift {_drift(model)}",
    ]
    return ", ".join(one for one in figures if _NONE not in one)


def _state(model: ModelView) -> str:
    return "ready" if model.ready else model.problem or "not ready"


def _drift(model: ModelView) -> str:
    if model.drift is None:
        return _NONE
    if model.drift_alarms:
        return f"ALARM ({', '.join(model.drift_alarms)}), {model.drift_by} 10^{model.drift:.1f}"
    return f"none (evidence 10^{model.drift:.1f}, {model.drift_by})"


def _unreachable(view: View) -> str:
    assert view.unreachable_since is not None
    span = _span(view.at - view.unreachable_since)
    since = _clock(view.unreachable_since)
    return f"not reachable since {since} ({span}): {_one_line(view.problem or '')}"


def seconds(value: float | None) -> str:
    """Return a time as text: in ms below a second."""
    if value is None:
        return _NONE
    return f"{significant(value)} s" if value >= 1 else f"{significant(1000 * value)} ms"


def _with_unit(value: float, unit: str) -> str:
    if unit == "s":
        return seconds(value)
    return number("", value, unit) if unit in ("bytes", "share") else f"{significant(value)} {unit}".strip()


def _plain(value: float | None) -> str:
    return _NONE if value is None else significant(value)


def _bytes(value: float | None) -> str:
    return _NONE if value is None else number("", value, "bytes")


def _span(value: float) -> str:
    """Return a duration as text."""
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _one_line(text: str) -> str:
    """Return a text of the server without what would move the cursor or break the line."""
    return "".join(one if one.isprintable() else " " for one in text)

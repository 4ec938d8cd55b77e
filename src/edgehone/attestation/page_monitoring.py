"""The section of certificate.html on operation: baselines, alerts, and numbers as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard

from edgehone.core.figure import Figure
from edgehone.report.figures import interval_of, label, number
from edgehone.report.html.parts import section, table
from edgehone.report.html.tag import Html, tag

_TEXT: Final = "Baselines from the checks, and the limits beyond which operation should raise an alert."
_BOUNDS: Final = {"above": ">", "below": "<"}


def monitoring_section(monitoring: Mapping[str, Any]) -> Html | None:
    """Return the section; None if nothing is told. What has neither baselines nor alerts' form is shown as text."""
    if not monitoring:
        return None
    tables = []
    if baselines := _named(monitoring.get("baselines")):
        rows = [_baseline(name, one) for name, one in baselines]
        tables.append(table("Baselines", ["Figure", "Value", "Measured with"], rows, kind="said"))
    if alerts := _named(monitoring.get("alerts")):
        rows = [_alert(name, one) for name, one in alerts]
        tables.append(table("Alerts", ["Alert", "Limit", "On"], rows, kind="said"))
    others = {name: one for name, one in monitoring.items() if name not in ("baselines", "alerts")}
    if others:
        rows = [
            tag("tr", tag("th", _words(name), scope="row"), tag("td", text_of(one)))
            for name, one in others.items()
        ]
        tables.append(table("More", ["", ""], rows, kind="said"))
    return section("", "monitoring", "Monitoring in operation", tag("p", _TEXT, class_="note"), *tables)


def number_of(name: str, value: float, unit: str) -> str:
    """Return a value as text; a count without decimals."""
    if _is_count(value, unit):
        return f"{value:,.0f} {unit.removesuffix('s') if value == 1 else unit}".rstrip()
    return number(name, value, unit)


def interval_text(name: str, low: float | None, high: float | None, unit: str) -> str:
    """Return the ends of an interval as text, or an empty string."""
    if low is not None and high is not None and _is_count(low, unit) and _is_count(high, unit):
        return f"{low:,.0f} – {high:,.0f}"
    return interval_of(name, Figure(0.0, low, high, unit=unit))


def text_of(value: Any) -> str:
    """Return any JSON as a line of text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(key)} {text_of(one)}" for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(map(text_of, value))
    return str(value)


def _named(values: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the tables in a table, or in a list of tables with a name each."""
    pairs = values.items() if isinstance(values, Mapping) else _numbered(values)
    return [(name, one if isinstance(one, Mapping) else {"value": one}) for name, one in pairs]


def _numbered(values: Any) -> Iterator[tuple[str, Any]]:
    for place, one in enumerate(values if isinstance(values, list | tuple) else (), 1):
        named = isinstance(one, Mapping) and "name" in one
        yield (str(one["name"]) if named else str(place)), one


def _baseline(name: str, one: Mapping[str, Any]) -> Html:
    value, unit = one.get("value"), str(one.get("unit") or "")
    low, high = (one[end] if _is_number(one.get(end)) else None for end in ("low", "high"))
    if _is_number(value):
        text, interval = number_of(name, value, unit), interval_text(name, low, high, unit)
    else:
        text, interval = str(one.get("reason") or text_of(value)), ""
    count = f"n = {one['n']}" if one.get("n") is not None else None
    told = {
        key: value for key, value in one.items() if key not in ("value", "low", "high", "n", "unit", "reason")
    }
    how = ", ".join(part for part in (count, text_of(told) if told else None) if part)
    return tag(
        "tr",
        tag("th", label(name), scope="row"),
        tag("td", text, tag("small", interval) if interval else None, class_="v"),
        tag("td", how),
    )


def _alert(name: str, one: Mapping[str, Any]) -> Html:
    limits = [
        f"{sign} {number_of('', one[bound], str(one.get('unit') or ''))}"
        for bound, sign in _BOUNDS.items()
        if _is_number(one.get(bound))
    ]
    seconds = one.get("for_s")
    known = ("name", "metric", "unit", "for_s", *_BOUNDS)
    told = {key: value for key, value in one.items() if key not in known}
    return tag(
        "tr",
        tag("th", _words(name), scope="row"),
        tag(
            "td",
            ", ".join(limits),
            tag("small", f"for {text_of(seconds)} s") if seconds else None,
            class_="v",
        ),
        tag(
            "td",
            tag("code", str(one["metric"])) if "metric" in one else None,
            tag("small", f" {text_of(told)}") if told else None,
        ),
    )


def _is_count(value: float, unit: str) -> bool:
    return float(value).is_integer() and unit in ("", "problems")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(name: str) -> str:
    return name.replace("_", " ")

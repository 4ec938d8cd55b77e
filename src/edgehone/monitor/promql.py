"""PromQL of the closed form of `expression.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgehone.monitor.expression import Condition, Quantile, Series, Share, Total, Value

# Servers are told apart by these labels, which Prometheus gives to what it scrapes: limits are those of one server.
TARGET = ("job", "instance")


def promql(value: Value) -> str:
    """Return the PromQL of a value, for each scraped server."""
    if isinstance(value, Total):
        return _total(value)
    if isinstance(value, Quantile):
        return f"histogram_quantile({number(value.q)}, {_total(value.buckets)})"
    divided = f"{_total(value.part)} / {_total(value.whole)}"
    return f"1 - {divided}" if value.rest else divided


def condition(one: Condition, recorded: Mapping[str, str] | None = None) -> str:
    """Return the PromQL of a condition: the values for which it holds.

    `recorded` maps the PromQL of a value to what stands for it.
    """
    text = promql(one.value)
    short = (recorded or {}).get(text)
    left = short or (f"({text})" if isinstance(one.value, Share) else text)
    return f"{left} {one.op} {number(one.limit)}"


def all_of(conditions: Sequence[Condition], recorded: Mapping[str, str] | None = None) -> str:
    """Return the PromQL of conditions that hold together. Its value is that of the first."""
    return "\nand\n".join(condition(one, recorded) for one in conditions)


def selector(series: Series) -> str:
    """Return a selector: `metric{label=~"expression",label="value"}`."""
    matchers = [f"{label}=~{quoted(pattern)}" for label, pattern in series.where.items()]
    matchers += [f"{label}={quoted(text)}" for label, text in series.labels.items()]
    return series.metric + (f"{{{','.join(matchers)}}}" if matchers else "")


def quoted(text: str) -> str:
    """Return a string literal of PromQL, which has the escapes of Go."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return (
        '"' + "".join(escapes.get(one) or (one if one.isprintable() else _escaped(one)) for one in text) + '"'
    )


def number(value: float) -> str:
    """Return a number literal with all digits that it needs."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _total(one: Total) -> str:
    chosen = selector(one.series)
    window = f"[{one.window_s:.0f}s]"
    over = {
        "now": chosen,
        "increase": f"increase({chosen}{window})",
        "rate": f"rate({chosen}{window})",
        "least": f"min_over_time({chosen}{window})",
    }[one.over]
    return f"{one.join} by ({', '.join((*TARGET, *one.by))}) ({over})"

"""Prometheus' text format, against prometheus_client."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from edgehone.monitor.exposition import samples

VALUES = st.floats(allow_nan=False) | st.integers(-(10**9), 10**9).map(float)


@given(st.dictionaries(st.tuples(st.text(max_size=12), st.text(max_size=12)), VALUES, max_size=5))
def test_what_prometheus_client_writes_is_read(content: dict[tuple[str, str], float]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("edgehone_x", "An \\ odd\nhelp text.", ("model", "zone"), registry=registry)
    other = Gauge("edgehone_other", "", registry=registry)
    other.set(3)
    encodable = {key: value for key, value in content.items() if _is_text("".join(key))}
    for labels, value in encodable.items():
        gauge.labels(*labels).set(value)
    text = generate_latest(registry).decode()
    found = {
        (dict(labels)["model"], dict(labels)["zone"]): value
        for _, labels, value in samples(text, {"edgehone_x"})
    }
    assert found == encodable


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def test_times_spaces_comments_and_special_values_are_read() -> None:
    text = (
        '# HELP a b\n\n  \na 1\na{x="1"} +Inf 1700000000000\na{ x = "2" , } -Inf\na{x="3"}\tNaN\nb{x="4"} 5\n'
    )
    found = list(samples(text, {"a"}))
    assert [dict(labels).get("x") for _, labels, _ in found] == [None, "1", "2", "3"]
    assert [value for _, _, value in found][:3] == [1, math.inf, -math.inf]
    assert math.isnan(found[3][2])


@pytest.mark.parametrize("line", ["a{x=1} 2", 'a{x="1} 2', "a", "a one", 'a{x="1"} 2 3 4', "<html>", "{} 1"])
def test_a_line_that_is_none_is_told(line: str) -> None:
    with pytest.raises(ValueError, match=r"read|line|number"):
        list(samples(f"a 1\n{line}\n", {"a"}))


@given(st.text(max_size=200))
def test_no_text_does_more_than_raise_value_error(text: str) -> None:
    with suppress(ValueError):
        list(samples(text, {"a", "b"}))

"""Markdown, the text plot, exported samples, and number formats."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import InputError, SetupError
from edgehone.core.figure import Figure
from edgehone.report.axis import axis
from edgehone.report.export import COLUMNS, to_csv, to_parquet
from edgehone.report.figures import interval_of, number, significant
from edgehone.report.findings import Findings
from edgehone.report.markdown import markdown
from edgehone.report.plot import plot
from edgehone.report.samples import Sample, array_readings, readings

from .made import made
from .test_summary import candidate, decision

LINES = [("b", "x/y", Sample("latency_ms", 0, 1, 1.5, "ms")), ("b", "x/y", Sample("kl", 2, 0, 0.1, "nats"))]
WORK = {"prompt_tokens": 100, "generated_tokens": 11, "batch": 1, "concurrency": 1}


@pytest.mark.parametrize(
    ("name", "value", "unit", "text"),
    [
        ("kl_mean", 2.4e-7, "nats", "2.4 × 10⁻⁷ nats"),
        ("kl_mean", 0.0059, "nats", "0.0059 nats"),
        ("prefill_tokens_per_s", 40985.0, "tokens/s", "41,000 tokens/s"),
        ("workload_latency_ms", 9.996, "ms", "10.0 ms"),
        ("bytes", 2_341_234, "bytes", "2.34 MB"),
        ("bytes", 999_600_000, "bytes", "1.00 GB"),
        ("accuracy_kept", 0.99812, "ratio", "99.8 %"),
        ("speedup", 10.43, "×", "10.4×"),
        ("memory_cut", -0.2, "share", "−20.0 %"),
    ],
)
def test_numbers_are_written_as_people_read_them(name: str, value: float, unit: str, text: str) -> None:
    assert number(name, value, unit) == text


def test_an_interval_names_its_unit_once() -> None:
    assert interval_of("speedup", Figure(2.0, 1.5, 2.5, 3, "×")) == "1.50 – 2.50×"
    assert interval_of("bytes", Figure(2e6, 9e5, 3e6, 3, "bytes")) == "900 kB – 3.00 MB"
    assert interval_of("bytes", Figure(2e6, n=1, unit="bytes")) == ""


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    text = significant(value).replace(",", "").replace("−", "-")
    if "10" not in text or "⁻" not in text:
        assert float(text) == pytest.approx(value, rel=0.0051, abs=1e-4)


@given(
    st.sampled_from(["kl_mean", "workload_latency_ms", "accuracy_kept", "bytes"]),
    st.lists(st.just(0.0) | st.floats(1e-9, 1e12), min_size=1, max_size=20),
)
def test_every_value_lies_on_its_axis_in_its_order(name: str, values: list[float]) -> None:
    scale = axis(name, "", values)
    places = [scale.at(v) for v in sorted(values)]
    assert places == sorted(places) and places[0] >= 0 and places[-1] <= 100
    assert len(scale.ticks) <= 6 and all(0 <= place <= 100 for place, _ in scale.ticks)
    assert len({text for _, text in scale.ticks}) == len(scale.ticks)


def test_values_closer_than_ticks_can_show_get_different_ticks() -> None:
    scale = axis("kl_mean", "", [1.0000000000000003e-09, 1e-09])
    assert len({text for _, text in scale.ticks}) == len(scale.ticks)


def test_the_plot_fits_a_terminal_and_is_ascii_where_it_must_be() -> None:
    found = made(20).decision
    text = plot(found, unicode=False)
    assert text.isascii() and max(map(len, text.splitlines())) <= 80
    assert f"* {found.chosen}" in text and "the original" in text
    drawn = plot(found, unicode=True)
    assert "◆" in drawn and max(map(len, drawn.splitlines())) <= 80


def test_there_is_no_plot_of_nothing() -> None:
    assert (
        plot(decision(candidate("a/q8", figures={}), baseline=candidate("o", figures={})), unicode=True) == ""
    )


def test_markdown_is_short_and_folds_the_rest() -> None:
    text = markdown([made(12)])
    lines = text.splitlines()
    assert lines[0] == "### edgehone: made\\-12"
    assert "<summary>7 more candidates</summary>" in text or "more candidates</summary>" in text
    assert text.count("<details>") == text.count("</details>") >= 3


def test_markdown_in_names_is_escaped() -> None:
    hostile = "@all <img src=x> [a](http://x) |\n# b `c`"
    told = decision(candidate("a/q8"), chosen="a/q8", notes=(hostile,))
    text = markdown([Findings(hostile, told, problems=(hostile,))])
    bare = re.sub(r"</?(details|summary)>|> \[!WARNING\]|\\.", "", text)
    assert not re.search(r"<|@|`|\[", bare)
    assert "\n# b" not in text


def test_readings_of_a_round_in_their_units() -> None:
    samples = {
        "rounds": [
            {"load": 0.2, "requests": [{"ttft": 0.125, "total": 0.625}], "conditions": {"others_share": 0.5}}
        ],
        "memory": {"peak": 10, "pss": None, "peaks": {"anonymous": 4}},
        "energy": {"joules": [1.0, 2.0]},
        "outputs": {"cosine": [0.5]},
        "throughput": {"rates": {"8": 90.0}, "again": [91.0]},
    }
    found = {(one.figure, one.index): (one.value, one.unit) for one in readings(samples, WORK)}
    assert found[("latency_ms", 0)] == (625.0, "ms") and found[("load_ms", 0)] == (200.0, "ms")
    assert found[("prefill_tokens_per_s", 0)] == (800.0, "tokens/s")
    assert found[("decode_tokens_per_s", 0)] == (20.0, "tokens/s")
    assert found[("energy", 1)] == (2.0, "J") and found[("peak_anonymous", 0)] == (4.0, "bytes")
    assert ("pss", 0) not in found
    assert found[("cosine", 0)] == (0.5, "") and found[("throughput_at_batch_8", 0)] == (90.0, "samples/s")
    assert found[("throughput", 0)] == (91.0, "samples/s")


@pytest.mark.parametrize(
    "samples", [{}, {"rounds": 3}, {"rounds": [3, {"requests": "x", "load": None}]}, {"energy": 1}]
)
def test_readings_of_broken_samples_are_none(samples: dict[str, Any]) -> None:
    assert list(readings(samples, WORK)) == []


def test_tokens_are_counted_within_their_window() -> None:
    found = list(array_readings({"window": [0, 0, 1], "kl": [0.1, 0.2, 0.3]}))
    assert [(one.round, one.index, one.value) for one in found] == [(0, 0, 0.1), (0, 1, 0.2), (1, 0, 0.3)]


def test_csv_and_parquet_hold_the_same(tmp_path: Path) -> None:
    import pyarrow.parquet

    assert to_csv(LINES, tmp_path / "a.csv") == to_parquet(LINES, tmp_path / "a.parquet") == 2
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == list(COLUMNS)
    assert [{k: str(v) for k, v in row.items()} for row in table.to_pylist()] == rows


def test_parquet_without_pyarrow_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SetupError) as caught:
        to_parquet(LINES, tmp_path / "a.parquet")
    assert "edgehone[parquet]" in str(caught.value.hint)


@pytest.mark.parametrize("write", [to_csv, to_parquet])
def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path, write: Any) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write(LINES, tmp_path / "none" / "a")

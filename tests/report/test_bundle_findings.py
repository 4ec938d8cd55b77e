"""Reading a damaged bundle: every problem is named, everything valid is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.report.bundle_findings import read_findings
from edgehone.report.html import page
from edgehone.report.repair_json import repair
from tests.finished import Finished

KEYS = {"null/f32", "null/q8", "null/q4"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def edited(bundle: Path, change: Callable[[Any], None], name: str = "decision.json") -> None:
    data = json.loads((bundle / name).read_text("utf-8"))
    change(data)
    (bundle / name).write_text(json.dumps(data), "utf-8")


def test_a_whole_bundle_has_no_problem_and_all_its_samples(finished: Finished) -> None:
    found = read_findings(finished.bundle)
    assert found.problems == ()
    assert set(found.samples) == {*KEYS, "null/original"}
    assert found.command and found.command.startswith("edgehone optimize") and '"$@"' not in found.command


def test_a_folder_that_is_not_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such bundle"):
        read_findings(tmp_path / "none")
    with pytest.raises(InputError, match="is not a bundle") as caught:
        read_findings(tmp_path)
    assert caught.value.hint


def test_a_cut_decision_is_read_up_to_the_cut(spoiled: Path) -> None:
    path = spoiled / "decision.json"
    text = path.read_text("utf-8")
    path.write_text(text[: len(text) // 2], "utf-8")
    found = read_findings(spoiled)
    assert any("decision.json is cut or broken" in one for one in found.problems)
    assert found.decision.reason and found.decision.device["cpu"]
    assert {one.key for one in found.decision.candidates} == KEYS  # those behind the cut by their samples
    assert "decision.json is cut or broken" in page([found])


def test_without_a_decision_the_samples_still_tell_of_speed(spoiled: Path) -> None:
    (spoiled / "decision.json").unlink()
    found = read_findings(spoiled)
    assert "decision.json cannot be read: No such file or directory" in found.problems
    assert all(one.figure("workload_latency_ms").value for one in found.decision.candidates)
    assert "null/<wbr>q8" in page([found])


def test_another_schema_is_reported_and_read_as_far_as_possible(spoiled: Path) -> None:
    edited(spoiled, lambda data: data.update(schema=7, novelty={"x": 1}))
    found = read_findings(spoiled)
    assert "decision.json has schema 7, not 1" in found.problems
    assert "decision.json has unknown keys: 'novelty'" in found.problems
    assert found.decision.chosen == "null/q8"


def test_figures_that_cannot_be_read_are_missing_and_say_so(spoiled: Path) -> None:
    def change(data: Any) -> None:
        own = data["candidates"][1]["figures"]
        own["kl_mean"]["value"] = "tiny"
        del own["ttft_ms"]
        data["requirements"]["weights"]["speed"] = "fast"

    edited(spoiled, change)
    found = read_findings(spoiled)
    assert (
        "decision.json: candidates[1].figures.kl_mean.value is 'tiny': expected float | null, got str"
        in found.problems
    )
    assert "decision.json: candidates[1].figures has no 'ttft_ms'" in found.problems
    assert "decision.json: requirements.weights.speed is 'fast': expected float, got str" in found.problems
    one = found.decision.candidates[1]
    assert one.figure("kl_mean").value is None and "tiny" in str(one.figure("kl_mean").reason)
    assert one.figure("workload_latency_ms").value
    page([found])


def test_missing_evidence_and_a_missing_manifest_are_named(spoiled: Path) -> None:
    shutil.rmtree(spoiled / "evidence" / "null__q8")
    (spoiled / "manifest.json").unlink()
    problems = read_findings(spoiled).problems
    assert "manifest.json cannot be read: No such file or directory" in problems
    assert "evidence: there are no raw samples of null/q8" in problems


def test_invalid_samples_are_left_out_and_the_change_is_reported(spoiled: Path) -> None:
    file = spoiled / "evidence" / "null__q8" / "samples.json"
    file.write_text(
        '{"rounds": [{"load": "x", "requests": [{"total": "y"}, 5]}, 7], "memory": 3, "energy": []}'
    )
    found = read_findings(spoiled)
    assert found.problems == ("evidence/null__q8/samples.json was changed",)
    page([found])


def test_the_end_of_a_failed_candidates_log_is_shown(spoiled: Path) -> None:
    def change(data: Any) -> None:
        data["candidates"][2].update(status="failed", error="std::bad_alloc", log="/gone/log.txt")

    edited(spoiled, change)
    (spoiled / "evidence" / "null__q4" / "log.txt").write_text("loading\nterminate called: std::bad_alloc\n")
    found = read_findings(spoiled)
    assert found.logs == {"null/q4": "loading\nterminate called: std::bad_alloc\n"}
    assert "terminate called: std::bad_alloc" in page([found])


@given(st.lists(JSON, max_size=4) | st.dictionaries(st.text(), JSON, max_size=4), st.data())
def test_repaired_json_is_a_beginning_of_the_whole(value: Any, draw: st.DataObject) -> None:
    text = json.dumps(value)
    assert repair(text) == value
    cut = draw.draw(st.integers(0, len(text)))
    try:
        part = repair(text[:cut])
    except ValueError:
        return
    assert begins(part, value)


def begins(part: Any, whole: Any) -> bool:
    """Whether a part has nothing that the whole has not, and leaves out only from the end."""
    if isinstance(part, dict) and isinstance(whole, dict):
        pairs = zip(part.items(), whole.items(), strict=False)
        return len(part) <= len(whole) and all(a == c and begins(b, d) for (a, b), (c, d) in pairs)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(begins, part, whole))
    return bool(part == whole)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 12, "b": 3', {"a": 12}),
        ('{"a": [1, {"b": "c', {"a": [1, {}]}),
        ('{"a": 1 "b": 2}', {"a": 1}),
        ("[1, 2, oops, 4]", [1, 2]),
        ('{"a": {"b": 1}, ]', {"a": {"b": 1}}),
    ],
)
def test_values_before_the_break_are_kept(text: str, value: Any) -> None:
    assert repair(text) == value


@pytest.mark.parametrize("text", ["", "   ", "oops", "12"])
def test_text_without_a_complete_value_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        repair(text)

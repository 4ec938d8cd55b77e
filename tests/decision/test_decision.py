"""decision.json: writing and reading, its schema, and invalid files."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from edgehone.core.errors import InputError
from edgehone.core.figure import Figure
from edgehone.decision import decision
from edgehone.decision.decision import UNITS, Candidate, Conversion, Decision
from edgehone.decision.gates import Verdict

SCHEMA = json.loads(files("edgehone").joinpath("data/decision.schema.json").read_text(encoding="utf-8"))

number = some.floats(allow_nan=False, allow_infinity=False)
text = some.text(max_size=8)
count = some.integers(0, 1 << 40)
tables = some.dictionaries(
    text, some.one_of(text, number, some.booleans(), some.lists(text, max_size=2)), max_size=2
)
figure = some.one_of(
    some.builds(Figure, number, some.none() | number, some.none() | number, count, text, some.none()),
    some.builds(Figure.missing, some.text(min_size=1, max_size=8), text),
)
verdict = some.builds(
    Verdict,
    gate=text,
    figure=text,
    ok=some.booleans(),
    op=some.sampled_from([">=", "<="]),
    threshold=number,
    bound=some.sampled_from(["low", "high", "value"]),
    value=some.none() | number,
    low=some.none() | number,
    high=some.none() | number,
    margin=some.none() | number,
    reason=text,
)
candidate = some.builds(
    Candidate,
    key=text,
    backend=text,
    recipe=tables,
    status=some.sampled_from(["ok", "failed", "disqualified", "skipped"]),
    error=some.none() | text,
    log=some.none() | text,
    bytes=some.none() | count,
    figures=some.builds(
        lambda shared, more: {**dict.fromkeys(UNITS, shared), **more},
        figure,
        some.dictionaries(text, figure, max_size=2),
    ),
    verdicts=some.lists(verdict, max_size=2).map(tuple),
    on_frontier=some.booleans(),
    facts=tables,
)
conversion = some.builds(
    Conversion,
    backend=text,
    key=text,
    token_ids_equal=some.none() | some.booleans(),
    max_error=figure,
    mean_error=figure,
    kl_mean=figure,
    same_top=figure,
    passed=some.booleans(),
    reason=text,
    compared=some.none() | count,
    vocabulary=some.none() | count,
)
decisions = some.builds(
    Decision,
    chosen=some.none(),
    reason=text,
    device=tables,
    model=tables,
    workload=tables,
    requirements=tables,
    baseline=candidate,
    candidates=some.lists(candidate, max_size=2).map(tuple),
    conversions=some.lists(conversion, max_size=2).map(tuple),
    notes=some.lists(text, max_size=2).map(tuple),
    versions=tables,
    edgehone=text,
    created=text,
    schema=some.just(decision.SCHEMA),
)


def plain() -> dict[str, Any]:
    """A small decision as JSON."""
    figures = {name: Figure(1.0, 0.9, 1.1, 4, unit) for name, unit in UNITS.items()}
    judged = Verdict("speedup", "speedup", True, ">=", 2.0, "low", 3.0, 2.9, 3.1, 0.45, "speedup 2.9")
    one = Candidate("null/a", "null", {"name": "a"}, bytes=7, figures=figures, verdicts=(judged,))
    base = Candidate("pytorch/original", "pytorch", {}, figures=figures)
    made = Decision(
        "null/a", "why", {}, {}, {}, {}, base, (one,), ("note",), {}, "0.1.0", "2026-01-01T00:00:00"
    )
    return copy.deepcopy(made.to_json())


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=25, deadline=None)
@given(decisions)
def test_a_decision_survives_writing_and_reading(made: Decision) -> None:
    data = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert Decision.from_json(data) == made
    jsonschema.validate(data, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    required = SCHEMA["$defs"]["Candidate"]["properties"]["figures"]["required"]
    assert required == list(UNITS)


def test_the_shipped_schema_is_generated_from_the_types() -> None:
    assert decision.schema() == SCHEMA


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), 2, "has schema 2"),
        (("schema",), "1", "schema is '1': expected 1"),
        (("chosen",), 5, "chosen is 5: expected str | null, got int"),
        (("chosen",), "null/b", "chosen is 'null/b', which is not a candidate"),
        (("extra",), 1, "unknown keys: 'extra'"),
        (("candidates",), {}, "candidates is {}: expected array, got object"),
        (("candidates", 0), "x" * 90, r"candidates\[0\] is 'x+\.\.\.: expected object, got str"),
        (("candidates", 0, "bytes"), -1, r"candidates\[0\]\.bytes is -1: expected int >= 0"),
        (("candidates", 0, "bytes"), True, "bytes is True"),
        (("candidates", 0, "status"), "fine", "status is 'fine': expected ok or failed or"),
        (
            ("candidates", 0, "figures", "ttft_ms", "low"),
            "1",
            r"figures\.ttft_ms\.low is '1': expected float",
        ),
        (
            ("candidates", 0, "figures", "ttft_ms", "value"),
            float("nan"),
            "value is nan: expected a finite number",
        ),
        (
            ("candidates", 0, "figures", "ttft_ms", "value"),
            None,
            r"figures\.ttft_ms: a figure without a value must have a reason",
        ),
        (("candidates", 0, "verdicts", 0, "ok"), 1, r"verdicts\[0\]\.ok is 1: expected bool, got int"),
        (("baseline", "figures"), {}, "baseline.figures has no 'decode_tokens_per_s'"),
        (("conversions",), [{}], r"conversions\[0\] has no 'backend'"),
        (("conversions",), {}, "conversions is {}: expected array"),
        (("notes",), [1], r"notes\[0\] is 1: expected str, got int"),
    ],
)
def test_edited_files_are_refused_where_they_are_wrong(
    path: tuple[Any, ...], value: Any, message: str
) -> None:
    data = plain()
    inner: Any = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(InputError, match=message) as caught:
        Decision.from_json(data)
    assert caught.value.hint


def test_a_decision_of_before_there_were_conversions_is_read() -> None:
    data = plain()
    del data["conversions"]
    assert Decision.from_json(data).conversions == ()
    jsonschema.validate(data, SCHEMA, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "key", [key for key in plain() if key not in ("conversions", "fallback", "remedies")]
)
def test_every_key_is_needed(key: str) -> None:
    data = plain()
    del data[key]
    with pytest.raises(InputError, match=f"has no '{key}'"):
        Decision.from_json(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA, cls=jsonschema.Draft202012Validator)


@given(some.recursive(some.none() | number | text, lambda s: some.lists(s) | some.dictionaries(text, s)))
def test_foreign_json_is_refused(data: Any) -> None:
    with pytest.raises(InputError):
        Decision.from_json(data)


def test_candidates_by_key() -> None:
    made = Decision.from_json(plain())
    assert made.candidate("null/a").bytes == 7
    assert made.candidate("pytorch/original") is made.baseline
    with pytest.raises(InputError, match="no candidate 'x'"):
        made.candidate("x")

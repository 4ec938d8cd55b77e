"""Reading JSON by the types of dataclasses: strictly, tolerantly, and the schema that follows from the types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema
import pytest

from edgehone.core.errors import InputError
from edgehone.core.typed_json import OPTIONAL, Count, Salvage, read, schema


@dataclass(frozen=True)
class Part:
    """A part."""

    name: str
    count: Count = 0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a part must have a name")


@dataclass(frozen=True)
class Whole:
    """A whole."""

    parts: tuple[Part, ...]
    by_name: Mapping[str, Part]
    state: Literal["new", "old"]
    share: float | None
    open: Mapping[str, Any]
    later: tuple[str, ...] = field(default=(), metadata=OPTIONAL)


def data() -> dict[str, Any]:
    part = {"name": "a", "count": 1}
    return {"parts": [part], "by_name": {"x": part}, "state": "new", "share": 1, "open": {"y": [None]}}


def test_valid_data_is_read_with_its_numbers_as_they_are() -> None:
    part = Part("a", 1)
    whole = read(Whole, data(), "f.json")
    assert whole == Whole((part,), {"x": part}, "new", 1, {"y": [None]})
    assert type(whole.share) is int  # so that it is written back as 1, not as 1.0
    jsonschema.validate(data(), schema(Whole), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": [{"name": "a"}]}, r"f.json: parts\[0\] has no 'count'"),  # though Python has a default
        ({"parts": [{"name": "a", "count": -1}]}, r"f.json: parts\[0\].count is -1: expected int >= 0"),
        ({"parts": {}}, "f.json: parts is {}: expected array, got object"),
        (
            {"by_name": {"x": {"name": "a", "count": "1"}}},
            r"f.json: by_name.x.count is '1': expected int, got str",
        ),
        ({"by_name": {"x": 1}}, "f.json: by_name.x is 1: expected object, got int"),
        ({"by_name": {"x": {"name": "", "count": 0}}}, "f.json: by_name.x: a part must have a name"),
        ({"state": "odd"}, "f.json: state is 'odd': expected new or old"),
        ({"share": True}, "f.json: share is True: expected float"),
        ({"share": float("inf")}, "f.json: share is inf: expected a finite number"),
        ({"open": "\ud800"}, r"f.json: open is '\\ud800': expected text, but half of a surrogate pair"),
        ({"more": 1}, "f.json has unknown keys: 'more'"),
    ],
)
def test_the_first_departure_is_named_with_its_location_and_value(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}") as caught:
        read(Whole, {**data(), **change}, "f.json", hint="make it again")
    assert caught.value.hint == "make it again"


def test_data_that_departs_is_invalid_by_the_schema_too() -> None:
    for change in ({"state": "odd"}, {"more": 1}, {"parts": [{"name": "a"}]}, {"share": "1"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**data(), **change}, schema(Whole), cls=jsonschema.Draft202012Validator)


def test_salvage_reads_the_valid_fields_and_reports_every_other() -> None:
    damaged = {
        "parts": [{"name": "a", "count": 1}, 5, {"name": "b", "count": "two"}],
        "by_name": {"x": {"name": "", "count": 3}, "y": {"name": "c", "count": 4}},
        "state": 7,
        "open": [],
        "more": 1,
    }
    salvage = Salvage(
        fields={(Whole, "state"): lambda path: "old"},
        objects={Part: lambda problem: Part(f"unknown: {problem}")},
    )
    whole = read(Whole, damaged, "f.json", salvage=salvage)
    unnamed = Part("unknown: f.json: by_name.x: a part must have a name")
    assert whole == Whole((Part("a", 1), Part("b", 0)), {"x": unnamed, "y": Part("c", 4)}, "old", None, {})
    assert salvage.problems == [
        "f.json has unknown keys: 'more'",
        "f.json: parts[1] is 5: expected object, got int",
        "f.json: parts[2].count is 'two': expected int, got str",
        "f.json: by_name.x: a part must have a name",
        "f.json: state is 7: expected new or old",
        "f.json has no 'share'",
        "f.json: open is []: expected object, got array",
    ]


def test_salvage_of_data_that_is_no_object_reports_that_alone() -> None:
    salvage = Salvage()
    assert read(Whole, [1], "f.json", salvage=salvage) == Whole((), {}, "new", None, {})
    assert salvage.problems == ["f.json is [1]: expected object, got array"]


@dataclass(frozen=True)
class Holder:
    """An object that may have a part."""

    part: Part | None


def test_an_object_that_may_be_none_is_read_as_its_class() -> None:
    assert read(Holder, {"part": {"name": "a", "count": 1}}, "f.json") == Holder(Part("a", 1))
    assert read(Holder, {"part": None}, "f.json") == Holder(None)
    wrong: Any
    for wrong in ({"name": "a", "count": -1}, {"name": "a"}, {"name": "a", "count": 1, "x": 1}, [], "a"):
        with pytest.raises(InputError, match="part"):
            read(Holder, {"part": wrong}, "f.json")

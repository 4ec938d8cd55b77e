"""The plain form of a client's JSON schema, and the grammars of it."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.shared.json_grammar import EBNF, LARK, Syntax, grammar, special_problem
from edgehone.core.errors import InputError
from edgehone.serve.openai.plain_schemas import Bounds, bounds_of, plain
from tests.serve.drawn_schemas import drawn, instance, written

SOURCES = st.randoms(use_true_random=False)
BOUNDS = bounds_of("openvino")
WIDE = Bounds(nodes=10**6, depth=50, values=10**6, characters=10**6)


def fits(value: Any, schema: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def is_plain(form: Any) -> bool:
    """Return whether a schema is one of the forms that the module's description states."""
    if form == {}:
        return True
    inner: list[Any] = []
    if "enum" in form:
        texts = [json.dumps(one) for one in form["enum"]]
        right = form.keys() == {"enum"} and 0 < len(texts) == len(set(texts))
    elif "anyOf" in form:
        inner = form["anyOf"]
        right = form.keys() == {"anyOf"} and len(inner) > 1
    elif form["type"] == "array":
        inner, right = [form["items"]], form.keys() == {"type", "items"}
    elif form["type"] == "object" and "properties" not in form:
        inner, right = [form["additionalProperties"]], form.keys() == {"type", "additionalProperties"}
    elif form["type"] == "object":
        inner = [*form["properties"].values()]
        right = form.keys() == {"type", "properties", "required", "additionalProperties"}
        right &= form["additionalProperties"] is False and set(form["required"]) <= form["properties"].keys()
    else:
        right = form.keys() == {"type"} and form["type"] in ("string", "number", "integer", "boolean", "null")
    return right and all(map(is_plain, inner))


@given(SOURCES)
def test_each_form_is_plain_and_stays(source: random.Random) -> None:
    form = plain(drawn(source, 3), WIDE)
    assert is_plain(form)
    assert plain(form, WIDE) == form


@given(SOURCES)
def test_it_allows_nothing_that_the_schema_does_not(source: random.Random) -> None:
    schema = drawn(source, 3)
    form = plain(schema, WIDE)
    for value in (
        instance(source, form),
        instance(source, {}),
        instance(source, plain(drawn(source, 2), WIDE)),
    ):
        assert not fits(value, form) or fits(value, schema)
    assert fits(instance(source, form), schema)


@given(SOURCES)
def test_it_allows_the_same_where_all_objects_are_closed(source: random.Random) -> None:
    schema = drawn(source, 3, closed=True)
    form = plain(schema, WIDE)
    for value in (
        instance(source, form),
        instance(source, {}),
        instance(source, plain(drawn(source, 2), WIDE)),
    ):
        assert fits(value, form) == fits(value, schema)


KEYS = st.sampled_from([
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "allOf", "$ref",
    "$defs", "a",
])  # fmt: skip
ATOMS = st.sampled_from(
    [None, True, False, 0, 1, 1.5, "", "a", "object", "array", "string", "#", "#/$defs/a", "#/a/0"]
)
ANYTHING = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(ANYTHING)
def test_anything_is_rewritten_or_refused(schema: Any) -> None:
    try:
        form = plain(schema, BOUNDS)
    except InputError as error:
        assert error.message.startswith("/")
    else:
        assert is_plain(form) and plain(form, BOUNDS) == form


LOOP: Any = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}}
REFUSED: list[tuple[Any, str]] = [
    (False, "/ is false: no schema"),
    ({"type": "nothing"}, '/type is "nothing": none of string'),
    ({"type": []}, "/type is []"),
    ({"$ref": "#/none"}, '/$ref is "#/none": a reference to nothing'),
    ({"$ref": "https://example.org/a.json"}, "no reference to a place in this schema"),
    ({"$ref": "#"}, "a reference of a schema to itself"),
    (LOOP, "/$defs/a/anyOf/1/$ref"),
    ({"type": "string", "pattern": "("}, '/pattern is "(": not supported beside "type"'),
    ({"type": "object", "properties": {"a/b": {"type": "null", "format": "a"}}}, '/properties/a~1b/format is "a"'),
    ({"type": "string", "minLength": 100000}, "/minLength is 100000"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "/maximum is 3"),
    ({"type": "array", "items": {}, "uniqueItems": True}, "/uniqueItems is true"),
    ({"type": "array", "prefixItems": [{}]}, "/prefixItems is [{}]"),
    ({"type": "string", "items": {}}, "/items is {}"),
    ({"if": {"type": "string"}, "then": {"minLength": 3}}, "/if is "),
    ({"not": {}}, "/not is {}: not supported"),
    ({"oneOf": [{}, {"type": "null"}]}, "/oneOf is "),
    ({"anyOf": []}, "/anyOf is []"),
    ({"anyOf": [{}], "type": "object"}, "/type is"),
    ({"allOf": [{}, {}]}, "/allOf is"),
    ({"enum": []}, "/enum is []"),
    ({"enum": "a"}, '/enum is "a": no list'),
    ({"enum": [1.5]}, "/enum is 1.5"),
    ({"const": {"a": 1}}, '/const is {"a": 1}'),
    ({"const": 2**53}, "/const is 9007199254740992"),
    ({"const": "a", "type": "integer"}, '/const is "a": a schema without a value'),
    ({"properties": {}}, '/properties is {}: used without "type"'),
    ({"type": "object", "required": ["a"]}, '/required/0 is "a": not among the properties'),
    ({"type": "object", "required": [["a"]]}, '/required/0 is ["a"]: not among the properties'),
    ({"type": "object", "properties": []}, "/properties is []"),
    ({"type": "object", "properties": {"a": {}}, "required": "a"}, '/required is "a"'),
    ({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "null"}}, "/additionalProperties is"),
    ({"type": "object", "patternProperties": {}}, "/patternProperties is {}"),
    ({"type": "object", "properties": {"a": 5}}, "/properties/a is 5"),
    ({"$dynamicRef": "#a"}, "/$dynamicRef"),
    ({"$id": "https://example.org", "type": "null"}, "/$id"),
    ({"enum": [f"text {at}" for at in range(20_000)]}, "/enum: the schema has more than"),
    ({"const": "a" * 9000}, "/const: the schema has more than 512 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "told"), REFUSED)
def test_what_has_no_plain_form_is_refused_with_its_place(schema: Any, told: str) -> None:
    with pytest.raises(InputError) as caught:
        plain(schema, BOUNDS)
    assert told in caught.value.message


@given(
    SOURCES,
    st.sampled_from(
        ["minLength", "pattern", "format", "minItems", "multipleOf", "oneOf", "not", "x-own", ""]
    ),
)
def test_a_foreign_keyword_is_refused_at_any_place(source: random.Random, keyword: str) -> None:
    inner: Any = {"type": "string", keyword: 1}
    first = {"type": source.choice(["null", "string", "object"])}
    schema = {"type": "object", "properties": {"a": {"anyOf": [first, {"type": "array", "items": inner}]}}}
    with pytest.raises(InputError, match=re.escape(f"/properties/a/anyOf/1/items/{keyword} is 1")):
        plain(schema, BOUNDS)


def test_an_object_whose_properties_are_none_has_none() -> None:
    none = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert plain({"type": "object", "properties": {}}, BOUNDS) == none
    assert plain({"type": "object"}, BOUNDS) == {"type": "object", "additionalProperties": {}}
    assert plain({"type": "object", "properties": {}, "additionalProperties": True}, BOUNDS) == {
        "type": "object",
        "additionalProperties": {},
    }


def test_limits_hold_for_what_references_make_of_a_schema() -> None:
    doubled: Any = {"$ref": "#/$defs/0", "$defs": {"30": {"type": "null"}}}
    for at in range(30):
        both = {"$ref": f"#/$defs/{at + 1}"}
        doubled["$defs"][str(at)] = {"anyOf": [both, both]}
    with pytest.raises(InputError, match=r"deep|nodes"):
        plain(doubled, BOUNDS)
    chain: Any = {
        "$ref": "#/$defs/0",
        "$defs": {str(at): {"$ref": f"#/$defs/{at + 1}"} for at in range(5000)},
    }
    with pytest.raises(InputError, match=f"more than {BOUNDS.nodes} nodes"):
        plain(chain, BOUNDS)
    wide: Any = {"anyOf": [{}] * BOUNDS.nodes}
    with pytest.raises(InputError, match="nodes"):
        plain(wide, BOUNDS)
    deep: Any = {}
    for _ in range(BOUNDS.depth - 1):
        deep = {"type": "array", "items": deep}
    assert plain(deep, BOUNDS) == deep
    with pytest.raises(InputError, match=f"more than {BOUNDS.depth} deep"):
        plain({"type": "array", "items": deep}, BOUNDS)


def pattern_of(text: str, syntax: Syntax) -> re.Pattern[str]:
    """Return the regular expression of a grammar, which refers to no rule before it is written."""
    rules = dict(re.split(rf" {syntax.sign} ", line, maxsplit=1) for line in text.splitlines())
    word = re.compile(r'"((?:[^"\\]|\\.)*)"|/((?:[^/\\]|\\.)*)/|(\[(?:[^\]\\]|\\.)*\])|([a-z]\w*)|\s+')
    known: dict[str, str] = {}

    def expanded(name: str) -> str:
        if name not in known:
            known[name] = f"(?:{word.sub(replaced, rules[name])})"
        return known[name]

    def replaced(found: re.Match[str]) -> str:
        literal, regular, characters, name = found.groups()
        if literal is not None:
            text: str = json.loads('"' + literal + '"')
            return f"(?:{re.escape(text)})"
        return f"(?:{regular})" if regular else characters or (expanded(name) if name else "")

    return re.compile(expanded(syntax.first))


@pytest.mark.parametrize("syntax", [EBNF, LARK], ids=["ebnf", "lark"])
@given(source=SOURCES)
def test_the_grammar_has_the_texts_of_its_values(syntax: Syntax, source: random.Random) -> None:
    form = plain(drawn(source, 2), WIDE)
    matches = pattern_of(grammar(form, syntax), syntax).fullmatch
    text = written(source, form)
    assert matches(text), text
    at = source.randrange(len(text))
    for other in (
        written(source, plain(drawn(source, 2), WIDE)),
        text[:at] + text[at + 1 :],
        text + text[at],
    ):
        if matches(other):
            assert fits(json.loads(other), form), other


def test_limits_are_those_of_the_backend() -> None:
    values = {"enum": [f"text {at}" for at in range(100)]}
    assert plain(values, bounds_of("olive")) == values
    with pytest.raises(InputError, match="more than 512 characters"):
        plain(values, bounds_of("openvino"))


def test_names_of_special_tokens_that_could_be_json() -> None:
    assert special_problem([b"", b"<s>", b"<|im_end|>", b"[PAD]", "｜end".encode()]) is None
    assert special_problem([b"<s>", b"null"]) == "its special token 'null' may be a part of JSON"
    assert special_problem([b"["]) and special_problem([b"[0]"])

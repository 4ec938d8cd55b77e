"""Read JSON data into frozen dataclasses, strictly, and generate a JSON schema from the same dataclasses.

`read` requires every field, refuses unknown keys, and checks each value against the field's annotation with msgspec.
It descends into dataclasses, tuples and mappings itself, because msgspec's errors name neither the offending value nor
the key of a mapping, and because a damaged file must be readable field by field (`Salvage`).

A field whose metadata is OPTIONAL may be absent, for files written before the field existed; it then has its default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from inspect import cleandoc
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from edgehone.core.errors import InputError

OPTIONAL: Mapping[str, Any] = {"optional": True}
Count = Annotated[int, msgspec.Meta(ge=0)]

HINT = "the file was changed, cut or written by another program; run edgehone optimize again"
_REJECTED = object()
T = TypeVar("T")


@dataclass
class Salvage:
    """Read what is valid, and collect a sentence in `problems` for each value that is not.

    An invalid field takes the value of `fields[(class, field)]`, called with the object's location, or else an empty
    value of its type (None where None is allowed). Invalid members of a list are left out. A class whose constructor
    rejects the values is replaced by `objects[class]`, called with the first problem of the object.
    """

    fields: Mapping[tuple[type, str], Callable[[str], Any]] = field(default_factory=dict)
    objects: Mapping[type, Callable[[str], Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read(cls: type[T], data: Any, source: str, *, hint: str = HINT, salvage: Salvage | None = None) -> T:
    """Return the `cls` that `data`, parsed JSON, holds. `source` names the file in messages.

    Raises InputError with the location, the value and `hint` at the first departure, unless `salvage` is given.
    """
    result: T = _Reader(source, hint, salvage).value(cls, data, "")
    return result


def read_value(
    annotation: Any,
    data: Any,
    path: str,
    source: str,
    *,
    hint: str = HINT,
    salvage: Salvage | None = None,
) -> Any:
    """Return `data`, found at `path` in the file, checked against an annotation as `read` checks a field."""
    return _Reader(source, hint, salvage).value(annotation, data, path)


def schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the data that `read` accepts for `cls`."""
    generated = msgspec.json.schema(cls)
    classes = {one.__name__: one for one in _classes(cls)}
    for name, table in generated["$defs"].items():
        # A default spares Python callers an argument; in a file every field is written.
        required = [one.name for one in fields(classes[name]) if not one.metadata.get("optional")]
        table.update(required=required, additionalProperties=False)
        # A docstring, whose indentation some versions of msgspec and of Python remove.
        if "description" in table:
            table["description"] = cleandoc(table["description"])
        for entry in table["properties"].values():
            entry.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **generated}


@dataclass(frozen=True)
class _Reader:
    source: str
    hint: str
    salvage: Salvage | None

    def value(
        self, annotation: Any, value: Any, path: str, otherwise: Callable[[], Any] | None = None
    ) -> Any:
        """Return the value, checked against the annotation; if it departs and is salvaged, return `otherwise()`."""
        origin, inner = get_origin(annotation), get_args(annotation)
        if origin is UnionType and isinstance(value, Mapping):  # of a dataclass and None
            annotation = next((one for one in inner if is_dataclass(one)), annotation)
        if is_dataclass(annotation) and isinstance(value, Mapping):
            return self._object(annotation, value, path)
        if origin is tuple and isinstance(value, list | tuple):
            members = [
                self.value(inner[0], one, f"{path}[{i}]", lambda: _REJECTED) for i, one in enumerate(value)
            ]
            return tuple(one for one in members if one is not _REJECTED)
        if origin is MappingType and inner[1] is not Any and isinstance(value, Mapping):
            return {name: self.value(inner[1], one, f"{path}.{name}") for name, one in value.items()}
        if problem := _departure(annotation, value):
            shown = repr(value)
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            self._report(f"{self._at(path)} is {shown}: {problem}")
            return (otherwise or (lambda: self._blank(annotation, path)))()
        # As it is: msgspec would turn the 3 of a float field into 3.0, and what is read is written back unchanged.
        return value

    def _object(self, cls: Any, data: Mapping[str, Any], path: str) -> Any:
        reader, problems = self, list[str]()
        if self.salvage is not None:
            reader = replace(self, salvage=replace(self.salvage, problems=problems))
        instance = reader._filled(cls, data, path)
        if self.salvage is not None:
            self.salvage.problems.extend(problems)
        return instance

    def _filled(self, cls: Any, data: Mapping[str, Any], path: str) -> Any:
        hints = _hints(cls)
        if unknown := [name for name in data if name not in hints]:
            self._report(f"{self._at(path)} has unknown keys: {', '.join(map(repr, unknown))}")
        values: dict[str, Any] = {}
        for one in fields(cls):
            inner = f"{path}.{one.name}" if path else one.name
            fallback = self._fallback(cls, one.name, path)
            if one.name in data:
                values[one.name] = self.value(hints[one.name], data[one.name], inner, fallback)
            elif not one.metadata.get("optional"):
                self._report(f"{self._at(path)} has no {one.name!r}")
                values[one.name] = fallback() if fallback else self._blank(hints[one.name], inner)
        try:
            return cls(**values)
        except ValueError as error:
            if self.salvage is None or not self.salvage.problems:
                self._report(f"{self._at(path)}: {error}")
            assert self.salvage is not None
            return self.salvage.objects[cls](self.salvage.problems[0])

    def _fallback(self, cls: type, name: str, path: str) -> Callable[[], Any] | None:
        fallback = self.salvage.fields.get((cls, name)) if self.salvage else None
        return None if fallback is None else lambda: fallback(path)

    def _blank(self, annotation: Any, path: str) -> Any:
        """Return an empty value of the annotated type."""
        origin, inner = get_origin(annotation), get_args(annotation)
        if is_dataclass(annotation):
            assert self.salvage is not None
            return replace(self, salvage=replace(self.salvage, problems=[])).value(annotation, {}, path)
        if type(None) in inner:
            return None
        if origin is Literal:
            return inner[0]
        if origin is Annotated:
            return self._blank(inner[0], path)
        return {tuple: tuple, MappingType: dict}.get(origin, annotation)()

    def _at(self, path: str) -> str:
        return f"{self.source}: {path}" if path else self.source

    def _report(self, message: str) -> None:
        if self.salvage is None:
            raise InputError(message, hint=self.hint)
        self.salvage.problems.append(message)


def _departure(annotation: Any, value: Any) -> str | None:
    """Return how the value departs from the annotation, None if it does not."""
    if isinstance(value, float) and not math.isfinite(value):
        return "expected a finite number"
    if is_dataclass(annotation):
        annotation = dict[str, Any]
    try:
        msgspec.convert(value, annotation)
    except UnicodeEncodeError:
        return "expected text, but half of a surrogate pair is in it"
    except msgspec.ValidationError as error:
        if get_origin(annotation) is Literal:
            return f"expected {' or '.join(map(str, get_args(annotation)))}"
        return f"e{str(error).replace('`', '')[1:]}"
    return None


@lru_cache(maxsize=64)
def _hints(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _classes(annotation: Any) -> Iterator[type]:
    """Yield the dataclasses in an annotation, and those in their fields."""
    if is_dataclass(annotation) and isinstance(annotation, type):
        yield annotation
        for inner in _hints(annotation).values():
            yield from _classes(inner)
    for inner in get_args(annotation):
        yield from _classes(inner)

"""Message classes and methods of open_inference.proto, made when the server starts.

So no generated code is kept, which would have to fit one version of protobuf. Read is the part of the language that the
file uses: messages in messages, repeated fields, maps from texts to messages, one `oneof`, and calls without streams.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE = "open_inference.proto"
_TOKEN = re.compile(r"//[^\n]*|[\w.]+|\"[^\"]*\"|[{}()=;<>,]")
_SCALARS = {
    name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")
}


@dataclass(frozen=True)
class Protocol:
    """The protocol's service: its full name, and for each method the classes of its request and its answer."""

    service: str
    methods: dict[str, tuple[Any, Any]]


def load() -> Protocol:
    """Return the service of open_inference.proto. Its classes are in a pool of their own, so others may exist."""
    described = parse(files(__package__).joinpath(FILE).read_text("utf-8"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(described)
    service = pool.FindServiceByName(f"{described.package}.{described.service[0].name}")
    return Protocol(
        service.full_name,
        {
            method.name: (
                message_factory.GetMessageClass(method.input_type),
                message_factory.GetMessageClass(method.output_type),
            )
            for method in service.methods
        },
    )


def parse(text: str) -> Any:
    """Return the FileDescriptorProto of a file."""
    tokens = (found for found in _TOKEN.findall(text) if not found.startswith("//"))
    described = descriptor_pb2.FileDescriptorProto(name=FILE)
    for word in tokens:
        if word == "syntax":
            described.syntax = _value(tokens).strip('"')
        elif word == "package":
            described.package = next(tokens)
        elif word == "message":
            _message(described.message_type.add(), next(tokens), tokens)
        elif word == "service":
            _service(described.service.add(), next(tokens), tokens)
    return described


def _value(tokens: Iterator[str]) -> str:
    """Return what follows an equals sign."""
    assert next(tokens) == "="
    return next(tokens)


def _message(message: Any, name: str, tokens: Iterator[str]) -> None:
    """Fill a message with what stands between its braces."""
    message.name = name
    choice = False  # inside of a oneof
    assert next(tokens) == "{"
    for word in tokens:
        if word == "}":
            if not choice:
                return
            choice = False
        elif word == "message":
            _message(message.nested_type.add(), next(tokens), tokens)
        elif word == "oneof":
            message.oneof_decl.add(name=next(tokens))
            assert next(tokens) == "{"
            choice = True
        elif word != ";":
            field = message.field.add()
            field.label = field.LABEL_REPEATED if word in ("repeated", "map") else field.LABEL_OPTIONAL
            if word == "map":
                _map(message, field, tokens)
                continue
            kind = next(tokens) if word == "repeated" else word
            field.name = next(tokens)
            field.number = int(_value(tokens))
            _set_type(field, kind)
            if choice:
                field.oneof_index = 0


def _map(message: Any, field: Any, tokens: Iterator[str]) -> None:
    """Fill a field that maps texts to messages: a repeated message with key and value, as protobuf has it."""
    _, _, _, kind, _ = (next(tokens) for _ in range(5))  # < string , KIND >
    field.name = next(tokens)
    field.number = int(_value(tokens))
    entry = message.nested_type.add(name="".join(part.title() for part in field.name.split("_")) + "Entry")
    entry.options.map_entry = True
    for number, name in enumerate(("key", "value"), 1):
        part = entry.field.add(name=name, number=number)
        part.label = part.LABEL_OPTIONAL
        _set_type(part, "string" if name == "key" else kind)
    _set_type(field, entry.name)


def _set_type(field: Any, kind: str) -> None:
    """Set the type; the name of a message is looked up from the field outwards."""
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, kind


def _service(service: Any, name: str, tokens: Iterator[str]) -> None:
    """Fill a service: `rpc NAME(REQUEST) returns (ANSWER) {}`."""
    service.name = name
    for word in tokens:
        if word == "}":
            return
        if word == "rpc":
            method = service.method.add(name=next(tokens))
            _, asked, _, _, _, answered, *_ = [next(tokens) for _ in range(9)]
            method.input_type, method.output_type = asked, answered

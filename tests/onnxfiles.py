"""Writes ONNX files by hand: protobuf messages without the onnx package, sound or broken as a test wants them."""

from __future__ import annotations

FLOAT, INT64, BOOL, FLOAT16, BFLOAT16, INT4 = 1, 7, 9, 10, 16, 22
Field = tuple[int, int | str | bytes]


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(*fields: Field) -> bytes:
    """A protobuf message: integers as varints, strings and bytes with their length."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def value(name: str, kind: int, *shape: int | str | None) -> bytes:
    dims = [
        (1, message() if d is None else message((1, d)) if isinstance(d, int) else message((2, d)))
        for d in shape
    ]
    return message((1, name), (2, message((1, message((1, kind), (2, message(*dims)))))))


def tensor(name: str, kind: int, dims: tuple[int, ...], raw: bytes | None, **external: object) -> bytes:
    fields: list[Field] = [(1, dim) for dim in dims]
    fields += [(2, kind), (8, name)]
    if raw is not None:
        fields.append((9, raw))
    if external:
        fields += [(13, message((1, key), (2, str(text)))) for key, text in external.items()]
        fields.append((14, 1))
    return message(*fields)


def node(
    name: str, domain: str = "", *attributes: bytes, inputs: tuple[str, ...] = ("x",), output: str = "y"
) -> bytes:
    given = [(1, one) for one in inputs]
    return message(*given, (2, output), (4, name), (7, domain), *((5, a) for a in attributes))


def graph(*fields: Field, nodes: tuple[bytes, ...] = (node("MatMul"),)) -> bytes:
    inputs = (11, value("x", FLOAT, "batch", 16)), (11, value("w", FLOAT, 16, 8))
    outputs = ((12, value("y", FLOAT16, "batch", None, 8)),)
    return message(*((1, n) for n in nodes), (2, "main"), *fields, *inputs, *outputs)


def opset(version: int, domain: str = "") -> Field:
    return (8, message((1, domain), (2, version)))


def model(body: bytes | None = None, *fields: Field, ir: int = 10, version: int = 21) -> bytes:
    whole = graph((5, tensor("w", FLOAT, (16, 8), b"\0" * 512))) if body is None else body
    return message((1, ir), (2, "hand"), (3, "1.0"), *fields, opset(version), (7, whole))

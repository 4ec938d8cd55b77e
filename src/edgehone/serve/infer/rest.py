"""Requests and answers of the Open Inference Protocol v2 over HTTP: JSON, and the binary tensor data extension.

Every field is known or refused by its name, so that nothing a client asks for is ignored in silence.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from edgehone.serve.http import BODY_LIMIT, Malformed, Refused
from edgehone.serve.infer.check import check_form, check_inputs, check_outputs, check_values, port_of
from edgehone.serve.infer.files import BYTES, contents
from edgehone.serve.infer.forms import Asked, Forms
from edgehone.serve.infer.lookup import VERSION
from edgehone.serve.infer.served import ServedGraph
from edgehone.serve.infer.tensor import DATATYPES, Tensor, bytes_of

if TYPE_CHECKING:
    from edgehone.model import info

Parameters = dict[str, Any] | None
_NUMPY = {public: dtype for dtype, public in DATATYPES.items()}
_KINDS: Mapping[str, type] = {"b": bool, "i": int, "u": int, "f": float}
NOTHING_MADE: Mapping[str, Tensor] = MappingProxyType({})
_RANK = 32  # numpy's own limit was this for long; no graph has more


class InputTensor(msgspec.Struct, forbid_unknown_fields=True):
    """An input of a request."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class WantedOutput(msgspec.Struct, forbid_unknown_fields=True):
    """An output that is asked for."""

    name: str
    parameters: Parameters = None


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON object of POST /v2/models/NAME/infer."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: Parameters = None
    outputs: list[WantedOutput] | None = None
    model_name: str | None = None
    model_version: str | None = None


_decoder = msgspec.json.Decoder(InferRequest)
_encode = msgspec.json.Encoder().encode


def files_of(body: bytes, header_length: str | None, served: ServedGraph) -> dict[str, list[bytes]]:
    """Return the files in inputs of the type BYTES, by the names of the inputs.

    {} for a request of tensors alone, and for a bundle that does not say how files become arrays. Raises Refused with
    what is wrong.
    """
    length = _json_length(body, header_length)
    if isinstance(served.media, str) or body.find(b'"BYTES"', 0, length) < 0:
        return {}
    view = memoryview(body)
    found, at = {}, length
    for one in _decoded(view[:length]).inputs:
        size = _binary_size(one)
        if one.datatype == BYTES:
            port_of(one.name, served)
            found[one.name] = contents(
                one.name, one.shape, one.data if size is None else view[at : at + size]
            )
        at += size or 0
    return found


def _json_length(body: bytes, header_length: str | None) -> int:
    length = len(body) if header_length is None else _length(header_length, len(body))
    if length > BODY_LIMIT:
        raise Refused(413, f"the JSON has {length} bytes, more than {BODY_LIMIT}: send the entries as bytes")
    return length


def read_request(
    body: bytes,
    header_length: str | None,
    served: ServedGraph,
    forms: Forms,
    made: Mapping[str, Tensor] = NOTHING_MADE,
) -> Asked:
    """Return the request in a body; `header_length` is the header Inference-Header-Content-Length.

    `forms` are those of the model. `made` are the inputs that were made of files, which stand where those of the type
    BYTES are. Raises Refused with what is wrong.
    """
    length = _json_length(body, header_length)
    view = memoryview(body)
    if header_length is None or made:
        return _checked(_decoded(view[:length]), view[length:], served, made)
    text, data = body[:length], view[length:]
    known = forms.asked(text, data)
    if known is not None:
        check_values(known.tensors, served)
        return known
    request = _decoded(view[:length])
    asked = _checked(request, data, served, made)
    if all(one.data is msgspec.UNSET for one in request.inputs):
        forms.keep(text, asked)
    return asked


def _checked(
    request: InferRequest, data: memoryview, served: ServedGraph, made: Mapping[str, Tensor]
) -> Asked:
    for field, value, expected in (
        ("model_name", request.model_name, served.name),
        ("model_version", request.model_version, VERSION),
    ):
        if value and value != expected:
            raise Refused(400, f"{field} is {value[:80]!r}, and the path asks for {expected!r}")
    tensors = _tensors(request.inputs, data, served, made)
    check_inputs(tensors, served)
    wanted = None if request.outputs is None else [one.name for one in request.outputs]
    check_outputs(wanted or (), served)
    binary = {
        one.name: flag
        for one in request.outputs or ()
        if (flag := _flag(one.parameters, "binary_data", f"the output {one.name!r}")) is not None
    }
    return Asked(
        request.id,
        tensors,
        wanted or None,  # an empty list asks for all, as none does
        binary,
        bool(_flag(request.parameters, "binary_data_output", "the request")),
    )


_MOST_DIGITS = 20  # int() refuses texts of several thousand


def _length(text: str, whole: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS) or not 0 < int(text) <= whole:
        raise Refused(
            400,
            f"Inference-Header-Content-Length is {text[:40]!r}: give the length of the JSON, at most {whole}",
        )
    return int(text)


def _decoded(view: memoryview) -> InferRequest:
    try:
        return _decoder.decode(view)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise Malformed("the body is not UTF-8") from None
        raise Malformed(str(error) or "the body is nested too deeply") from None


def _flag(parameters: Parameters, name: str, where: str) -> bool | None:
    """Return a flag among parameters. Raises Refused for others: they ask for what this server does not do."""
    for key, value in (parameters or {}).items():
        if key != name:
            raise Refused(
                400, f"{where} has the parameter {key[:80]!r}, which is not supported: leave it out"
            )
        if not isinstance(value, bool):
            raise Refused(400, f"{where} has {name} = {str(value)[:80]!r}, which is neither true nor false")
    value = (parameters or {}).get(name)
    return value if isinstance(value, bool) else None


def _tensors(
    inputs: Sequence[InputTensor], data: memoryview, served: ServedGraph, made: Mapping[str, Tensor]
) -> list[Tensor]:
    found, at = [], 0
    for one in inputs:
        port = port_of(one.name, served)
        if one.datatype == BYTES and one.name in made:
            found.append(made[one.name])
            at += _binary_size(one) or 0
            continue
        check_form(port, one.datatype, one.shape)
        size = _binary_size(one)
        if size is None:
            found.append(_from_json(one, port))
            continue
        expected = bytes_of(port.dtype, tuple(one.shape))
        if size != expected:
            raise Refused(
                400,
                f"the input {one.name!r} has {size} bytes, and its shape needs {expected} of {one.datatype}",
            )
        if at + size > len(data):
            raise Refused(
                400, f"the body ends {at + size - len(data)} bytes before the end of the input {one.name!r}"
            )
        found.append(Tensor(one.name, port.dtype, tuple(one.shape), data[at : at + size]))
        at += size
    if at < len(data):
        raise Refused(400, f"the body has {len(data) - at} bytes after the last input")
    return found


def _binary_size(one: InputTensor) -> int | None:
    """Return the number of bytes of a binary input, None for one whose data is in the JSON object."""
    for key, value in (one.parameters or {}).items():
        if key != "binary_data_size":
            raise Refused(
                400,
                f"the input {one.name!r} has the parameter {key[:80]!r}, which is not supported: leave it out",
            )
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise Refused(400, f"the input {one.name!r} has binary_data_size = {str(value)[:80]!r}")
    size: int | None = (one.parameters or {}).get("binary_data_size")
    given = one.data is not msgspec.UNSET
    if given == (size is not None):
        told = "both data and binary_data_size" if given else "neither data nor binary_data_size"
        raise Refused(400, f"the input {one.name!r} has {told}: give one of them")
    return size


def _from_json(one: InputTensor, port: info.Tensor) -> Tensor:
    """Return an input whose entries are JSON numbers, in one list or nested as its shape."""
    import numpy as np

    assert isinstance(one.data, msgspec.Raw)
    dtype, shape = np.dtype(port.dtype), tuple(one.shape)
    raw = bytes(one.data)
    nested = raw[1:64].lstrip()[:1] == b"["
    depth = len(shape) if nested else 1
    try:
        values = _entries(dtype.kind, depth).decode(raw)
        # Wide first, so that a number out of range is seen, not wrapped.
        wide: Any = np.array(
            values, {"i": np.int64, "u": np.uint64, "f": np.float64, "b": np.bool_}[dtype.kind]
        )
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(400, f"the data of the input {one.name!r}: {error}") from None
    except (OverflowError, ValueError) as error:  # beyond 64 bits; rows of different lengths
        raise Refused(
            400, f"the data of the input {one.name!r} does not fit {one.datatype}: {error}"
        ) from None
    if wide.shape != shape and (nested or wide.size != bytes_of("uint8", shape)):
        raise Refused(
            400,
            f"the data of the input {one.name!r} has {list(wide.shape)} entries, its shape is {list(shape)}",
        )
    return Tensor(one.name, port.dtype, shape, _narrowed(wide, dtype, one).tobytes())


def _narrowed(wide: Any, dtype: Any, one: InputTensor) -> Any:
    """Return the entries in the input's own type. Raises Refused for one that is out of its range."""
    if wide.dtype == dtype:
        return wide
    least, most = _ends(dtype)
    beyond = (wide < least) | (wide > most)
    if beyond.any():
        bad = wide[beyond].flat[0]
        raise Refused(400, f"the data of the input {one.name!r} has {bad}, out of range of {one.datatype}")
    return wide.astype(dtype)


@functools.cache
def _ends(dtype: Any) -> tuple[Any, Any]:
    """Return the least and the most number of a type."""
    import numpy as np

    ends = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return ends.min, ends.max


@functools.cache
def _entries(kind: str, depth: int) -> msgspec.json.Decoder[Any]:
    """Return a decoder of lists of a kind of numbers, nested so deep."""
    form: Any = _KINDS[kind]
    for _ in range(min(max(depth, 1), _RANK)):
        form = list[form]
    return msgspec.json.Decoder(form)


def answer(name: str, asked: Asked, outputs: Sequence[Tensor]) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON if bytes follow it.

    Raises Refused for NaN and infinity in an output that is sent as JSON.
    """
    described, parts = [], []
    for one in outputs:
        entry: dict[str, Any] = {"name": one.name, "datatype": one.datatype, "shape": one.shape}
        if asked.binary.get(one.name, asked.all_binary):
            entry["parameters"] = {"binary_data_size": len(one.data)}
            parts.append(one.data)
        else:
            entry["data"] = _to_json(one)
        described.append(entry)
    head: dict[str, Any] = {"model_name": name, "model_version": VERSION}
    if asked.number is not None:
        head["id"] = asked.number
    text = _encode({**head, "outputs": described})
    return (b"".join((text, *parts)), len(text)) if parts else (text, None)


def _to_json(one: Tensor) -> list[Any]:
    import numpy as np

    array = one.array.reshape(-1)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Refused(
            400,
            f"the output {one.name!r} holds NaN or infinity, which JSON has no form for: ask for it with binary_data",
        )
    values: list[Any] = array.tolist()
    return values

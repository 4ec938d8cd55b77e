"""GRPCInferenceService over the models that are served, in the server's own event loop."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from edgehone.core.distributions import version
from edgehone.core.errors import InputError, JobError
from edgehone.serve.admission import Full, TooLate
from edgehone.serve.http import CLIENT_GONE, Refused
from edgehone.serve.infer.check import check_form, check_inputs, check_outputs, port_of
from edgehone.serve.infer.grpc.proto import Protocol, load
from edgehone.serve.infer.held import Held
from edgehone.serve.infer.lookup import HELD, VERSION, graph_of, metadata, model_of
from edgehone.serve.infer.model import GraphModel
from edgehone.serve.infer.routes import INFER
from edgehone.serve.infer.tensor import Tensor, bytes_of
from edgehone.serve.keys import check_key
from edgehone.serve.measured.callers import grpc_headers
from edgehone.serve.record import Record
from edgehone.serve.status import status_of
from edgehone.serve.watching import Watching

if TYPE_CHECKING:
    from edgehone.model import info
    from edgehone.serve.infer.served import ServedGraph
    from edgehone.serve.live_models import Models

Call = Callable[[Any, Any], Awaitable[Any]]  # of the request and gRPC's context
# The fields of `contents` by the kind and the bytes of a type. There is none for FP16, which comes as bytes only.
_CONTENTS: Mapping[str, str] = {
    "bool": "bool_contents",
    **dict.fromkeys(("int8", "int16", "int32"), "int_contents"),
    "int64": "int64_contents",
    **dict.fromkeys(("uint8", "uint16", "uint32"), "uint_contents"),
    "uint64": "uint64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
}
_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Routes that disclose nothing about a model need no key.
_OPEN = ("ServerLive", "ServerReady")


class InferenceService:
    """The methods of the service. Errors have the status codes of gRPC and the messages of the REST routes."""

    def __init__(self, models: Models, watching: Watching, keys: Sequence[str]) -> None:
        self._models, self._in_flight, self._watching = models.by_name, models.in_flight, watching
        self._held = Held(HELD)
        self._keys = [key.encode() for key in keys]
        self._protocol: Protocol = load()
        self._answers = {name: answer for name, (_, answer) in self._protocol.methods.items()}

    def handler(self) -> Any:
        """Return the handler of all methods, for a server of grpc.aio."""
        calls: dict[str, Call] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server,
            "ModelMetadata": self._metadata,
            "ModelInfer": self._observed,
        }
        return grpc.method_handlers_generic_handler(
            self._protocol.service,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._guarded(name, calls[name]),
                    request_deserializer=asked.FromString,
                    response_serializer=answer.SerializeToString,
                )
                for name, (asked, answer) in self._protocol.methods.items()
            },
        )

    def _guarded(self, name: str, call: Call) -> Callable[[Any, Any], Awaitable[Any]]:
        """Return a method that checks the key, turns errors into status codes, and counts both."""
        path = f"/{self._protocol.service}/{name}"
        metrics = self._watching.metrics

        async def answer(request: Any, context: Any) -> Any:
            status, message = grpc.StatusCode.OK, ""
            try:
                if self._keys and name not in _OPEN:
                    check_key(dict(context.invocation_metadata() or ()).get("authorization", ""), self._keys)
                with self._in_flight.track():
                    found = await call(request, context)
            except (Refused, Full, TooLate, InputError, JobError) as error:
                status, message = _STATUS[status_of(error)], error.message
                metrics.refused(error)
                if isinstance(error, Full):
                    context.set_trailing_metadata([("retry-after", str(error.retry_after))])
            metrics.counted(path, status.name)
            if status is not grpc.StatusCode.OK:
                await context.abort(status, message)
            return found

        return answer

    async def _live(self, request: Any, context: Any) -> Any:
        return self._answers["ServerLive"](live=True)

    async def _ready(self, request: Any, context: Any) -> Any:
        ready = all(model.problem is None for model in self._models.values())
        return self._answers["ServerReady"](ready=ready)

    async def _model_ready(self, request: Any, context: Any) -> Any:
        model = model_of(self._models, request.name, request.version or VERSION)
        return self._answers["ModelReady"](ready=model.problem is None)

    async def _server(self, request: Any, context: Any) -> Any:
        return self._answers["ServerMetadata"](name="edgehone", version=version("edgehone"))

    async def _metadata(self, request: Any, context: Any) -> Any:
        model = graph_of(self._models, request.name, request.version or VERSION)
        return self._answers["ModelMetadata"](**metadata(model))

    async def _observed(self, request: Any, context: Any) -> Any:
        model = graph_of(self._models, request.model_name, request.model_version or VERSION)
        headers = grpc_headers(dict(context.invocation_metadata() or ()))
        model, version = self._watching.split.of(model, headers)
        record = self._watching.observers.begin(model.name, INFER, headers)
        record.version = version
        status = CLIENT_GONE  # whose call is cancelled
        try:
            answer = await self._infer(request, model, record)
            status = 200
        except Exception as error:
            status = status_of(error)
            raise
        finally:
            record.answered(status)
        return answer

    async def _infer(self, request: Any, model: GraphModel, record: Record) -> Any:
        _refuse_parameters(request.parameters, "the request")
        tensors = _tensors(request, model.served)
        wanted = _wanted(request, model)
        record.id, record.inputs = request.id, tensors
        with self._held.request(request.ByteSize()):
            found = await model.infer(tensors, wanted, record)
        answer = self._answers["ModelInfer"](model_name=model.name, model_version=VERSION, id=request.id)
        for one in found.outputs:
            answer.outputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
            answer.raw_output_contents.append(bytes(one.data))
        metrics = self._watching.metrics
        metrics.answered(model.name, time.perf_counter() - record.begun, found.together)
        return answer


def _wanted(request: Any, model: GraphModel) -> list[str] | None:
    for one in request.outputs:
        _refuse_parameters(one.parameters, f"the output {one.name[:80]!r}")
    names = [one.name for one in request.outputs]
    check_outputs(names, model.served)
    return names or None


def _refuse_parameters(parameters: Mapping[str, Any], where: str, size: int | None = None) -> None:
    """Raise Refused for parameters, but for those of the REST form that say what holds anyway.

    Some clients send them by gRPC too: the `size` of an input in bytes, and that outputs shall be bytes.
    """
    for name, value in parameters.items():
        if name == "binary_data_size" and value.int64_param == size:
            continue
        if name in ("binary_data", "binary_data_output") and value.bool_param:
            continue
        raise Refused(400, f"{where} has the parameter {name[:80]!r}, which is not supported: leave it out")


def _tensors(request: Any, served: ServedGraph) -> list[Tensor]:
    """Return the inputs of a request, whose entries are bytes for all of them or for none."""
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise Refused(400, f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs")
    found = []
    for at, one in enumerate(request.inputs):
        port, shape = port_of(one.name, served), tuple(one.shape)
        check_form(port, one.datatype, shape)
        if raw and one.HasField("contents"):
            raise Refused(400, f"the input {one.name!r} has contents, and raw_input_contents has entries too")
        data = raw[at] if raw else _data(one, port)
        _refuse_parameters(one.parameters, f"the input {one.name!r}", len(data))
        expected = bytes_of(port.dtype, shape)
        if len(data) != expected:
            raise Refused(
                400,
                f"the input {one.name!r} has {len(data)} bytes, and its shape needs {expected} of {one.datatype}",
            )
        found.append(Tensor(one.name, port.dtype, shape, data))
    check_inputs(found, served)
    return found


def _data(one: Any, port: info.Tensor) -> bytes:
    """Return the bytes of an input whose entries are numbers."""
    import numpy as np

    field = _CONTENTS.get(port.dtype)
    if field is None:
        raise Refused(400, f"the input {one.name!r} is {one.datatype}, which raw_input_contents holds only")
    for other, _ in one.contents.ListFields():
        if other.name != field:
            raise Refused(400, f"the input {one.name!r} is {one.datatype}: give {field}, not {other.name}")
    wide = np.array(getattr(one.contents, field))
    count = math.prod(one.shape)
    if len(wide) != count:
        raise Refused(400, f"the input {one.name!r} has {len(wide)} entries, its shape needs {count}")
    dtype = np.dtype(port.dtype)
    if dtype.kind in "iu" and (wide.min() < np.iinfo(dtype).min or wide.max() > np.iinfo(dtype).max):
        raise Refused(400, f"the input {one.name!r} has an entry out of range of {one.datatype}")
    return wide.astype(dtype).tobytes()

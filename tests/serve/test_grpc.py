"""The Open Inference Protocol over gRPC, by Triton's client and by plain messages."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from edgehone.cli.main import main
from edgehone.serve.infer.grpc.proto import load
from tests.finished import Finished
from tests.ports import free_port
from tests.serve.graphs import expected, null_graph
from tests.serve.server import PATIENCE, Server, running, wait_for
from tests.serve.test_access import certificate
from tests.serve.test_infer import ROWS

METHODS = load().methods
ASKED, _ = METHODS["ModelInfer"]


@pytest.mark.parametrize("name", METHODS)
def test_messages_are_those_of_triton(name: str) -> None:
    known = {
        method.name: method
        for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    }
    ours = [cls.DESCRIPTOR for cls in METHODS[name]]
    for one, other in zip(ours, (known[name].input_type, known[name].output_type), strict=True):
        assert one.full_name == other.full_name
        assert _fields(one) == _fields(other)


def _fields(message: Any) -> Any:
    """Number, name, type and repetition of all fields, those of messages in it included."""
    return {
        field.number: (
            field.name,
            field.type,
            field.is_repeated,
            field.containing_oneof.name if field.containing_oneof else None,
            field.message_type and (field.message_type.full_name, _fields(field.message_type)),
        )
        for field in message.fields
    }


class Grpc:
    """A server with a gRPC port, and a channel to it."""

    def __init__(self, server: Server, port: int) -> None:
        self.server, self.address = server, f"127.0.0.1:{port}"
        self.channel = grpc.insecure_channel(self.address)

    def ask(self, message: Any, **more: Any) -> Any:
        """Return the answer to a ModelInfer request."""
        asked, answer = METHODS["ModelInfer"]
        call = self.channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=asked.SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(message, **more)


@pytest.fixture(scope="module")
def served(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grpc]:
    """A server of a graph, which the tests of this module share."""
    copy = Path(shutil.copytree(_finished.bundle, tmp_path_factory.mktemp("grpc") / "bundle"))
    port = free_port()
    with running(
        null_graph(copy), "--grpc-port", str(port), env={"EDGEHONE_HOME": str(_finished.home)}
    ) as server:
        yield Grpc(server, port)


@pytest.mark.whole
def test_the_triton_client(served: Grpc) -> None:
    with triton.InferenceServerClient(served.address) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("bundle") and client.is_model_ready("bundle", "1")
        assert client.get_server_metadata().name == "edgehone"
        told = client.get_model_metadata("bundle")
        assert [(one.name, one.datatype, list(one.shape)) for one in told.outputs] == [
            ("scores", "FP32", [-1, 3]),
            ("class", "INT64", [-1]),
        ]
        given = triton.InferInput("x", ROWS.shape, "FP32")
        given.set_data_from_numpy(ROWS)
        answer = client.infer("bundle", [given], request_id="seven")
        assert answer.get_response().id == "seven"
        np.testing.assert_array_equal(answer.as_numpy("scores"), expected(ROWS))
        wanted = [triton.InferRequestedOutput("class")]
        answer = client.infer("bundle", [given], outputs=wanted)
        assert answer.as_numpy("scores") is None
        np.testing.assert_array_equal(answer.as_numpy("class"), expected(ROWS).argmax(1))
        with pytest.raises(triton.InferenceServerException, match="there is no model 'other'"):
            client.get_model_metadata("other")
    assert served.server.metric("edgehone_batch_requests_count") >= 2


def asked(**change: Any) -> Any:
    """A request with a changed input."""
    data = change.pop("raw", None)
    one = {"name": "x", "datatype": "FP32", "shape": [1, 4], **change}
    if data is None and "contents" not in change:
        one["contents"] = {"fp32_contents": [1, 2, 3, 4]}
    raw = [] if data is None else [data] if isinstance(data, bytes) else data
    return ASKED(model_name="bundle", inputs=[one], raw_input_contents=raw)


@pytest.mark.whole
def test_entries_may_be_numbers_or_bytes(served: Grpc) -> None:
    row = np.array([[1, 2, 3, 4]], np.float32)
    size = {"binary_data_size": {"int64_param": 16}}
    for message in (asked(), asked(raw=row.tobytes()), asked(raw=row.tobytes(), parameters=size)):
        answer = served.ask(message)
        assert [one.name for one in answer.outputs] == ["scores", "class"]
        np.testing.assert_array_equal(
            np.frombuffer(answer.raw_output_contents[0], np.float32), expected(row)[0]
        )


@pytest.mark.whole
@pytest.mark.parametrize(
    ("message", "said"),
    [
        (ASKED(model_name="bundle"), "the input 'x' is missing"),
        (asked(name="y"), "there is no input 'y'"),
        (asked(datatype="FP64"), "the input 'x' is FP32, not 'FP64'"),
        (asked(shape=[1, 5]), "has the shape [-1, 4], not [1, 5]"),
        (asked(shape=[-1, 4]), "not [-1, 4]"),
        (asked(shape=[2, 4]), "has 4 entries, its shape needs 8"),
        (asked(raw=b"abc"), "has 3 bytes, and its shape needs 16"),
        (asked(raw=[b"a" * 16] * 2), "raw_input_contents has 2 entries for 1 inputs"),
        (asked(raw=b"a" * 16, contents={"fp32_contents": [1]}), "has contents, and raw_input_contents"),
        (asked(contents={"int_contents": [1, 2, 3, 4]}), "give fp32_contents, not int_contents"),
        (asked(contents={}), "has 0 entries"),
        (asked(parameters={"shared_memory_region": {"string_param": "a"}}), "'shared_memory_region'"),
        (asked(parameters={"binary_data_size": {"int64_param": 15}}), "'binary_data_size'"),
        (ASKED(model_name="bundle", parameters={"sequence_id": {"int64_param": 3}}), "'sequence_id'"),
        (
            ASKED(model_name="bundle", inputs=[asked().inputs[0]], outputs=[{"name": "other"}]),
            "no output 'other'",
        ),
        (asked(contents={"fp32_contents": [668, 0, 0, 0]}), "asked to refuse"),
    ],
    ids=lambda value: value if isinstance(value, str) else "message",
)
def test_a_request_that_cannot_be_answered(served: Grpc, message: Any, said: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        served.ask(message)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in caught.value.details()
    assert served.ask(asked()).outputs


@pytest.mark.whole
def test_other_status_codes(served: Grpc) -> None:
    def code(message: Any) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            served.ask(message)
        return caught.value.code()

    assert code(ASKED(model_name="other")) is grpc.StatusCode.NOT_FOUND
    assert code(ASKED(model_name="bundle", model_version="2")) is grpc.StatusCode.NOT_FOUND
    assert code(asked(contents={"fp32_contents": [667, 0, 0, 0]})) is grpc.StatusCode.UNAVAILABLE
    assert code(asked(raw=b"a" * (33 << 20))) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.ask(asked()).outputs


@pytest.mark.whole
@pytest.mark.usefixtures("finished")
def test_keys_queue_leaving_and_the_end(spoiled: Path, tmp_path: Path) -> None:
    keys, port = tmp_path / "keys", free_port()
    keys.write_text("secret\n")
    keys.chmod(0o600)
    words = ("--parallel", "1", "--max-batch", "1", "--max-queue", "0")
    own = ("--grpc-port", str(port), "--api-key-file", str(keys))
    with running(null_graph(spoiled, seconds=0.3), *words, *own) as server, ThreadPoolExecutor(4) as pool:
        found = Grpc(server, port)
        with pytest.raises(grpc.RpcError) as caught:
            found.ask(asked())
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        key = [("authorization", "Bearer secret")]
        answers = [pool.submit(found.ask, asked(), metadata=key) for _ in range(2)]  # as many places
        wait_for(lambda: server.metric("edgehone_running_requests") == 2)
        with pytest.raises(grpc.RpcError) as caught:
            found.ask(asked(), metadata=key)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(caught.value.trailing_metadata())["retry-after"] == "1"
        assert all(one.result(PATIENCE).outputs for one in answers)
        with pytest.raises(grpc.RpcError) as caught:
            found.ask(asked(), metadata=key, timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_for(lambda: server.metric("edgehone_running_requests") == 0)
        last = pool.submit(found.ask, asked(), metadata=key)
        wait_for(lambda: server.metric("edgehone_running_requests") == 1)
        code = threading.Thread(target=server.end)
        code.start()
        assert last.result(PATIENCE).outputs
        code.join(PATIENCE)
        assert server.process.returncode == 0


@pytest.mark.whole
@pytest.mark.usefixtures("finished")
def test_a_certificate_encrypts_grpc_too(spoiled: Path, tmp_path: Path) -> None:
    (cert, key), port = certificate(tmp_path), free_port()
    words = ("--tls-cert", str(cert), "--tls-key", str(key), "--grpc-port", str(port))
    with running(null_graph(spoiled), *words, trusted=ssl.create_default_context(cafile=cert)) as server:
        plain = Grpc(server, port)
        with pytest.raises(grpc.RpcError) as caught:
            plain.ask(asked(), timeout=2)
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        plain.channel = grpc.secure_channel(plain.address, grpc.ssl_channel_credentials(cert.read_bytes()))
        assert plain.ask(asked()).outputs


@pytest.mark.usefixtures("finished")
def test_a_port_in_use(spoiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(null_graph(spoiled)), "--port", "0", "--grpc-port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1 port {port} for gRPC" in capsys.readouterr().err
    assert main(["serve", str(spoiled), "--grpc-port", "70000"]) == 2
    assert "--grpc-port is 70000" in capsys.readouterr().err


@pytest.mark.whole
def test_tenants_and_feedback_by_grpc(served: Grpc) -> None:
    server, who = served.server, (("x-tenant", "alice"), ("x-route", "search"))
    message = asked()
    message.id = "of-the-client"
    answer = served.ask(message, metadata=who)
    wrong = ASKED(model_name="bundle")  # without an input
    with pytest.raises(grpc.RpcError):
        served.ask(wrong, metadata=who)
    lines = server.client.get("/metrics").text.splitlines()
    assert 'edgehone_tenant_requests_total{route="search",tenant="alice"} 2.0' in lines
    assert any(one.startswith('edgehone_failures_total{model="bundle",reason="invalid"}') for one in lines)
    label = int(np.frombuffer(answer.raw_output_contents[0], np.float32).argmax())
    told = server.post("/v1/feedback", {"id": "of-the-client", "label": label}).json()
    assert told == {"id": "of-the-client", "model": "bundle", "correct": True}

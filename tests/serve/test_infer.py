"""The Open Inference Protocol over a graph: by plain requests, and what cannot be answered."""

from __future__ import annotations

import json
import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.finished import Finished
from tests.serve.graphs import asked, expected, null_graph
from tests.serve.server import PATIENCE, Server, running

pytestmark = pytest.mark.whole
ROWS = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
HEADER = "inference-header-content-length"


@pytest.fixture(scope="module")
def server(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a graph, which the tests of this module share."""
    copy = Path(shutil.copytree(_finished.bundle, tmp_path_factory.mktemp("graph") / "bundle"))
    with running(null_graph(copy), env={"EDGEHONE_HOME": str(_finished.home)}) as found:
        yield found


def outputs(answer: Any) -> dict[str, Any]:
    """The outputs of an answer that is all JSON, as arrays."""
    assert answer.status_code == 200, answer.text
    kinds = {"FP32": np.float32, "INT64": np.int64}
    return {
        one["name"]: np.array(one["data"], kinds[one["datatype"]]).reshape(one["shape"])
        for one in answer.json()["outputs"]
    }


def binary(parts: list[tuple[dict[str, Any], bytes]], **more: Any) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request with binary inputs."""
    inputs = [
        one if "parameters" in one else {**one, "parameters": {"binary_data_size": len(data)}}
        for one, data in parts
    ]
    text = json.dumps({"inputs": inputs, **more}).encode()
    return text + b"".join(data for _, data in parts), {HEADER: str(len(text))}


def test_what_is_served(server: Server) -> None:
    told = server.client.get("/v2").json()
    assert told["name"] == "edgehone" and told["extensions"] == ["binary_tensor_data"]
    assert server.client.get("/v2/health/live").json() == {"live": True}
    assert server.client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/bundle", "/v2/models/bundle/versions/1"):
        assert server.client.get(path).json() == {
            "name": "bundle",
            "versions": ["1"],
            "platform": "null",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [
                {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "class", "datatype": "INT64", "shape": [-1]},
            ],
        }
        assert server.client.get(f"{path}/ready").json() == {"name": "bundle", "ready": True}
    proof = server.client.get("/readyz").json()["proofs"]["bundle"]
    assert proof.startswith("all outputs of the canaries are equal; batches of up to 8 samples: ")


def test_an_answer_is_sent_as_one_piece(server: Server) -> None:
    """The second of two pieces waits for an acknowledgement of the first, which the system delays by 40 ms."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    content = json.dumps(asked(ROWS)).encode()
    head = f"POST /v2/models/bundle/infer HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as own:
        for _ in range(3):
            own.sendall(head.encode() + content)
            told, _, body = own.recv(1 << 16).lower().partition(b"\r\n\r\n")
            assert b"content-length: %d\r\n" % len(body) in told + b"\r\n" and json.loads(body)["outputs"]


def test_entries_may_be_in_one_list_or_nested(server: Server) -> None:
    flat = server.infer(asked(ROWS, id="seven"))
    assert flat.json()["id"] == "seven" and flat.json()["model_name"] == "bundle"
    nested = asked(ROWS)
    nested["inputs"][0]["data"] = ROWS.tolist()
    for answer in (flat, server.infer(nested), server.post("/v2/models/bundle/versions/1/infer", nested)):
        found = outputs(answer)
        np.testing.assert_array_equal(found["scores"], expected(ROWS))
        np.testing.assert_array_equal(found["class"], expected(ROWS).argmax(1))
    whole = asked(np.zeros((1, 4)))
    whole["inputs"][0]["data"] = [0, 1, 2, -3]  # whole numbers are numbers
    np.testing.assert_allclose(outputs(server.infer(whole))["scores"], expected([[0, 1, 2, -3]]), 1e-6)


def test_only_the_outputs_that_are_asked_for(server: Server) -> None:
    assert [*outputs(server.infer(asked(ROWS, outputs=[{"name": "class"}])))] == ["class"]
    assert [*outputs(server.infer(asked(ROWS, outputs=[{"name": "class"}, {"name": "scores"}])))] == [
        "class",
        "scores",
    ]
    assert len(outputs(server.infer(asked(ROWS, outputs=[])))) == 2


def test_binary_tensors_in_and_out(server: Server) -> None:
    one = {"name": "x", "datatype": "FP32", "shape": [5, 4]}
    body, headers = binary([(one, ROWS.tobytes())])
    np.testing.assert_array_equal(outputs(server.infer(body, **headers))["scores"], expected(ROWS))
    body, headers = binary([(one, ROWS.tobytes())], parameters={"binary_data_output": True})
    answer = server.infer(body, **headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[HEADER])
    told = json.loads(answer.content[:length])["outputs"]
    assert [one["parameters"]["binary_data_size"] for one in told] == [60, 40]
    assert answer.content[length:] == expected(ROWS).tobytes() + expected(ROWS).argmax(1).tobytes()
    wanted = [{"name": "class", "parameters": {"binary_data": True}}, {"name": "scores"}]
    answer = server.infer(asked(ROWS, outputs=wanted))
    length = int(answer.headers[HEADER])
    first, second = json.loads(answer.content[:length])["outputs"]
    assert answer.content[length:] == expected(ROWS).argmax(1).tobytes() and "data" not in first
    np.testing.assert_array_equal(np.float32(second["data"]), expected(ROWS).ravel())


def test_large_requests_and_answers(server: Server) -> None:
    rows = np.random.default_rng(5).normal(size=(50_000, 4)).astype(np.float32)
    body, headers = binary([({"name": "x", "datatype": "FP32", "shape": [50_000, 4]}, rows.tobytes())])
    for answer in (server.infer(body, **headers), server.infer(asked(rows))):
        np.testing.assert_allclose(outputs(answer)["scores"], expected(rows), 1e-4, 1e-4)


def test_nan_comes_back_as_bytes_only(server: Server) -> None:
    rows = np.full((1, 4), np.nan, np.float32)
    body, headers = binary([({"name": "x", "datatype": "FP32", "shape": [1, 4]}, rows.tobytes())])
    answer = server.infer(body, **headers)
    assert answer.status_code == 400 and "NaN or infinity" in answer.json()["error"]
    body, headers = binary(
        [({"name": "x", "datatype": "FP32", "shape": [1, 4]}, rows.tobytes())],
        outputs=[{"name": "scores", "parameters": {"binary_data": True}}],
    )
    answer = server.infer(body, **headers)
    assert np.isnan(np.frombuffer(answer.content[int(answer.headers[HEADER]) :], np.float32)).all()


def one(**change: Any) -> dict[str, Any]:
    """A request with a changed input; None removes a field."""
    given = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4], **change}
    return {"inputs": [{name: value for name, value in given.items() if value is not None}]}


def raw(data: bytes, length: str | None = None, **change: Any) -> tuple[bytes, str]:
    body, headers = binary([({"name": "x", "datatype": "FP32", "shape": [1, 4], **change}, data)])
    return body, headers[HEADER] if length is None else length


SIXTEEN = struct.pack("<4f", 1, 2, 3, 4)
DEEP = (
    b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": '
    + b"[" * 50_000
    + b"]" * 50_000
    + b"}]}"
)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "object"),
        (b"\xff\xfe{}", "JSON"),
        (b'{"inputs": [{"name": "\xff"}]}', "UTF-8"),
        (DEEP, "maximum recursion depth"),
        (b'{"inputs": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", ""),
        ({}, "inputs"),
        ({"inputs": []}, "the input 'x' is missing"),
        ({"inputs": {}}, "array"),
        ({**one(), "foo": 1}, "foo"),
        ({**one(), "id": 7}, "id"),
        ({**one(), "model_name": "other"}, "model_name is 'other'"),
        ({**one(), "parameters": {"sequence_id": 3}}, "the parameter 'sequence_id'"),
        ({**one(), "parameters": {"binary_data_output": 1}}, "binary_data_output = '1'"),
        ({**one(), "outputs": [{"name": "other"}]}, "there is no output 'other'; the outputs are scores, class"),
        ({**one(), "outputs": [{"name": "class"}, {"name": "class"}]}, "asked for twice"),
        ({**one(), "outputs": [{"name": "class", "parameters": {"classification": 3}}]}, "'classification'"),
        (one(name="y"), "there is no input 'y'; the inputs are x"),
        (one(name="y" * 5000), "there is no input"),
        ({"inputs": one()["inputs"] * 2}, "the input 'x' is given twice"),
        (one(name=None), "name"),
        (one(datatype=None), "datatype"),
        (one(datatype="FP64"), "the input 'x' is FP32, not 'FP64'"),
        (one(datatype="BYTES", data=["a", "b", "c", "d"]), "the input 'x' is FP32, not 'BYTES'"),
        (one(datatype="float32"), "the input 'x' is FP32, not 'float32'"),
        (one(shape=None), "shape"),
        (one(shape=[4]), "the input 'x' has the shape [-1, 4], not [4]"),
        (one(shape=[1, 5]), "not [1, 5]"),
        (one(shape=[0, 4], data=[]), "not [0, 4]"),
        (one(shape=[-1, 4]), "not [-1, 4]"),
        (one(shape=[1, 4, 1]), "not [1, 4, 1]"),
        (one(shape=[1.5, 4]), "int"),
        (one(shape=[1 << 62, 4]), "entries"),
        (one(data=None), "neither data nor binary_data_size"),
        (one(data=[1, 2, 3]), "has [3] entries"),
        (one(data=[[1, 2], [3, 4]]), "has [2, 2] entries"),
        (one(data=[[1, 2, 3], [4]]), "inhomogeneous"),
        (one(data=[1, [2], 3, 4]), "the data of the input 'x'"),
        (one(data=["1", "2", "3", "4"]), "Expected `float`, got `str`"),
        (one(data=[True, False, True, True]), "Expected `float`, got `bool`"),
        (one(data=[1, 2, 3, None]), "the data of the input 'x'"),
        (one(data={"0": 1}), "the data of the input 'x'"),
        (one(data=5), "the data of the input 'x'"),
        (one(data=[1e39, 0, 0, 0]), "out of range of FP32"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [NaN, 1, 2, 3]}]}', "invalid"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1e999, 1, 2, 3]}]}', ""),
        (one(parameters={"binary_data_size": 16}), "both data and binary_data_size"),
        (one(parameters={"binary_data_size": 16}, data=None), "the body ends 16 bytes before the end"),
        (one(parameters={"shared_memory_region": "a"}), "'shared_memory_region', which is not supported"),
        (raw(SIXTEEN[:12]), "has 12 bytes, and its shape needs 16 of FP32"),
        (raw(SIXTEEN, parameters={"binary_data_size": -1}), "binary_data_size = '-1'"),
        (raw(SIXTEEN + b"more", parameters={"binary_data_size": 16}), "4 bytes after the last input"),
        (raw(SIXTEEN, "0"), "Inference-Header-Content-Length is '0'"),
        (raw(SIXTEEN, "x"), "Inference-Header-Content-Length is 'x'"),
        (raw(SIXTEEN, "99999"), "Inference-Header-Content-Length is '99999'"),
        (raw(SIXTEEN, "9" * 5000), "Inference-Header-Content-Length is '999"),
        (raw(SIXTEEN, "40"), "truncated"),
        (asked([[668, 0, 0, 0]]), "the null backend was asked to refuse"),
    ],
    ids=lambda value: value if isinstance(value, str) else "body",
)  # fmt: skip
def test_a_request_that_cannot_be_answered(server: Server, body: Any, said: str) -> None:
    headers = {}
    if isinstance(body, tuple):
        body, headers[HEADER] = body
    answer = server.infer(body, **headers)
    assert answer.status_code == 400, answer.text
    assert answer.json().keys() == {"error"} and said in answer.json()["error"]
    assert outputs(server.infer(asked(ROWS)))["class"].shape == (5,)


def test_other_requests_that_are_refused(server: Server) -> None:
    def told(answer: Any, status: int) -> str:
        assert answer.status_code == status, answer.text
        found: str = answer.json()["error"]
        return found

    assert "there is no model 'other'; served: bundle" in told(
        server.post("/v2/models/other/infer", one()), 404
    )
    assert "only 1" in told(server.post("/v2/models/bundle/versions/2/infer", one()), 404)
    assert "Method Not Allowed" in told(server.client.get("/v2/models/bundle/infer"), 405)
    assert "Not Found" in told(server.client.get("/v2/nothing"), 404)
    huge = b" " * ((32 << 20) + 1)
    assert "more than 33554432" in told(server.infer(huge), 413)
    assert "more than 33554432" in told(
        server.client.post("/v2/models/bundle/infer", content=iter([huge])), 413
    )
    assert "send the entries as bytes" in told(server.infer(b" " * ((8 << 20) + 1)), 413)
    assert "'gzip'" in told(server.infer(one(), **{"content-encoding": "gzip"}), 415)
    assert "asked to fail" in told(server.infer(asked([[667, 0, 0, 0]])), 503)
    vectors = server.post("/v1/embeddings", {"model": "bundle", "input": "a"})
    assert vectors.status_code == 400 and "it is no encoder of texts" in vectors.json()["error"]["message"]
    text = server.post("/v1/completions", {"model": "bundle", "prompt": "a"})
    assert text.status_code == 400 and "/v2/models/bundle/infer" in text.json()["error"]["message"]
    assert outputs(server.infer(asked(ROWS)))["class"].shape == (5,)

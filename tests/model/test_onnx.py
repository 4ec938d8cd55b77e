from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehone.core.errors import ModelError
from edgehone.model.digest import digest_model
from edgehone.model.info import Tensor
from edgehone.model.inspect import inspect
from edgehone.model.onnx import known_runtime
from tests.onnxfiles import (
    BFLOAT16,
    FLOAT,
    INT4,
    INT64,
    graph,
    message,
    model,
    node,
    opset,
    tensor,
    value,
    varint,
)


def refused(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        inspect(path)
    assert str(path) in caught.value.message
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def test_a_complete_model(place: Path) -> None:
    place.write_bytes(model())
    (place.parent / "LICENSE").write_text("MIT License")
    for given_path in (place, place.parent):
        info = inspect(given_path)
        assert (info.path, info.folder, info.format, info.kind) == (place, place.parent, "onnx", "graph")
        assert info.inputs == (Tensor("x", "float32", ("batch", 16)),)  # w is an initializer
        assert info.outputs == (Tensor("y", "float16", ("batch", None, 8)),)
        assert (info.parameters, info.dtypes, info.bytes) == (128, {"F32": 128}, place.stat().st_size)
        assert (info.opset, info.operators, info.files) == (21, ("MatMul",), ("net.onnx",))
        assert (info.licence, info.quantized) == ("mit", None)
        assert info.notes == ("IR version 10, made by hand 1.0",)
    json.dumps(info.to_json())
    assert len(digest_model(info)) == 64


def test_operators_of_subgraphs_and_functions_count(place: Path) -> None:
    then = message((1, "then"), (6, graph(nodes=(node("Relu"),))), (20, 5))
    function = message((1, "Fn"), (10, "local"), (7, node("Sigmoid")))
    nodes = (node("If", "", then), node("Fn", "local"), node("Mystery", "my.ops"))
    place.write_bytes(model(graph(nodes=nodes), (25, function), opset(1, "my.ops")))
    info = inspect(place)
    assert info.operators == ("If", "Relu", "Sigmoid", "my.ops::Mystery")
    assert len(info.inputs) == 2 and len(info.outputs) == 1  # of the main graph alone
    assert any("my.ops" in note and "Mystery" in note and "custom" in note for note in info.notes)


@pytest.mark.parametrize(
    ("operator", "quantized"),
    [("QLinearConv", "qoperator"), ("DequantizeLinear", "qdq"), ("MatMulNBits", "matmulnbits"),
     ("DynamicQuantizeLinear", "dynamic"), ("Conv", None)],
)  # fmt: skip
def test_quantized_graphs_are_named(place: Path, operator: str, quantized: str | None) -> None:
    place.write_bytes(model(graph(nodes=(node(operator),))))
    assert inspect(place).quantized == quantized


def test_dtypes(place: Path) -> None:
    stored = [
        (5, tensor("a", BFLOAT16, (3,), b"\0" * 6)),
        (5, tensor("b", INT4, (3,), b"\0" * 2)),
        (5, message((1, 2), (2, INT64), (8, "c"), (7, b"\x01\x02"))),
        (5, tensor("scalar", FLOAT, (), b"\0" * 4)),
        (15, message((1, tensor("sparse", FLOAT, (2,), b"\0" * 8)))),
    ]
    place.write_bytes(model(graph(*stored)))
    assert inspect(place).dtypes == {"BF16": 3, "F32": 3, "I4": 3, "I64": 2}


def test_data_in_other_files(place: Path) -> None:
    (place.parent / "data").mkdir()
    (place.parent / "data" / "w.bin").write_bytes(b"\0" * 1000)
    outside = {"location": "data/w.bin", "offset": 488, "length": 512}
    place.write_bytes(model(graph((5, tensor("w", FLOAT, (16, 8), None, **outside)))))
    info = inspect(place)
    assert info.files == ("data/w.bin", "net.onnx")
    assert info.bytes == 1000 + place.stat().st_size
    before = digest_model(info)
    (place.parent / "data" / "w.bin").write_bytes(b"\1" * 1000)
    assert digest_model(inspect(place)) != before


@pytest.mark.parametrize(
    ("external", "said"),
    [
        ({"location": "../secret"}, "not a file in the model's folder"),
        ({"location": "/etc/passwd"}, "not a file in the model's folder"),
        ({"location": "a/../../secret"}, "not a file in the model's folder"),
        ({"location": "..\\secret"}, "not a file in the model's folder"),
        ({"location": "a\0b"}, "not a file in the model's folder"),
        ({"location": ""}, "not a file in the model's folder"),
        ({"location": "link"}, "it is a link to"),
        ({"location": "x" * 5000}, "not a file in the model's folder"),
        ({"location": "lost.bin"}, "missing"),
        ({"location": "w.bin", "offset": 500}, "ends at byte 1012 of w.bin, which has 600"),
        ({"location": "w.bin", "length": 511}, "needs 512 bytes"),
        ({"location": "w.bin", "length": 601}, "ends at byte 601"),
        ({"location": "w.bin", "offset": "-1"}, "offset '-1'"),
        ({"location": "w.bin", "offset": "9" * 30}, "has the invalid offset"),
    ],
)
def test_missing_or_misplaced_external_data_is_refused(
    tmp_path: Path, external: dict[str, object], said: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 600)
    (folder / "w.bin").write_bytes(b"\0" * 600)
    (folder / "link").symlink_to(tmp_path / "secret")
    body = graph((5, tensor("heavy", FLOAT, (16, 8), None, **external)))
    answer = refused(folder / "net.onnx", model(body))
    assert said in answer and "'heavy'" in answer


def test_links_within_a_hub_cache_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "a"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "1").write_bytes(model(graph((5, tensor("w", FLOAT, (2,), None, location="w.bin")))))
    (blobs / "2").write_bytes(b"\0" * 8)
    (snapshot / "m.onnx").symlink_to(blobs / "1")
    (snapshot / "w.bin").symlink_to(blobs / "2")
    assert inspect(snapshot).files == ("m.onnx", "w.bin")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.example/spec/v1\n", "git lfs pull"),
        (b"\0" * 100, "not a field number"),
        (b"GGUF" + b"\x03\0\0\0" * 9, "ONNX"),
        (message((1, 10)), "no graph"),
        (message((7, graph())), "no IR version"),
        (model() + message((7, graph())), "2 graphs"),
        (message((1, 10), (7, message((1, node("Relu"))))), "no outputs"),
        (model()[:-9], "its message"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "has a length of 9223372036854775807"),
        (b"\x08" + b"\xff" * 20, "more than 10 bytes"),
        (b"\x08", "cut off"),
        (b"\x09\x00", "cut off"),
        (b"\x0b", "wire type 3"),
        (message((1, 10), (2, "x" * 70_000)), "a string of 70000 bytes"),
        (model(ir=99), "unsupported IR version 99"),
        (model(ir=-1), "unsupported IR version -1"),
        (model(version=99), "unsupported opset 99 of ai.onnx: ONNX Runtime 1.32.0 supports 1 to 28"),
        (model(None, opset(77, "ai.onnx.ml")), "unsupported opset 77 of ai.onnx.ml"),
        (model(graph(nodes=(message((1, "x")),))), "without an operator"),
        (model(graph((11, value("x", FLOAT)))), "'x' occurs twice"),
        (model(graph((5, tensor("w", 99, (2,), b"")))), "unknown data type 99"),
        (model(graph((5, tensor("w", FLOAT, (2, -1), b"")))), "shape [2, -1]"),
        (model(graph((5, tensor("w", FLOAT, (1,) * 65, b"")))), "shape [1, 1"),
        (model(graph((5, tensor("w", FLOAT, (3,), b"\0" * 8)))), "needs 12 bytes, but has 8"),
        (model(graph((5, tensor("w", FLOAT, (2**62,) * 60, None)))), "has no data"),
    ],
)
def test_an_invalid_file_is_refused(place: Path, content: bytes, said: str) -> None:
    assert said in refused(place, content)


def test_a_new_ir_version_is_not_mended_by_the_converter_of_opsets(place: Path) -> None:
    place.write_bytes(model(ir=99))
    with pytest.raises(ModelError) as caught:
        inspect(place)
    assert caught.value.hint and "ir_version" in caught.value.hint and "convert" not in caught.value.hint


def test_deep_nesting_is_refused(place: Path) -> None:
    body = graph()
    for _ in range(150):
        body = graph(nodes=(node("If", "", message((6, body))),))
    assert "nested" in refused(place, model(body))


def test_too_many_fields_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgehone.formats.protobuf.Wire.__init__.__defaults__", (1000,))
    assert "more fields than" in refused(place, message((1, 10)) * 2000)


def test_shapes_that_are_not_stated(place: Path) -> None:
    odd = message((1, "free"), (2, message((1, message((1, FLOAT))))))
    sequence = message((1, "list"), (2, message((4, message()))))
    place.write_bytes(model(graph((11, odd), (11, sequence), (11, value("d", FLOAT, -1, 3)))))
    info = inspect(place)
    assert info.inputs[:3] == (
        Tensor("free", "float32", (), ranked=False),
        Tensor("list", "a sequence", (), ranked=False),
        Tensor("d", "float32", (None, 3)),
    )
    assert "shape not stated: free, list" in info.notes


def test_the_runtime_table_is_complete() -> None:
    table = known_runtime()
    assert table["opsets"]["ai.onnx"] >= 21 and table["ir_version"] >= 10


SOUND = model(
    graph(
        (5, tensor("w", FLOAT, (16, 8), b"\0" * 512)),
        (5, tensor("far", FLOAT, (2,), None, location="w.bin", offset=8, length=8)),
        nodes=(node("If", "", message((6, graph()), (5, tensor("k", INT64, (1,), b"\0" * 8)))),),
    ),
    (25, message((1, "Fn"), (10, "local"), (7, node("Sigmoid")))),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, len(SOUND)),
    whole=st.booleans(),
)
def test_any_mutation_is_read_or_refused(
    tmp_path: Path, edits: list[tuple[int, int]], cut: int, whole: bool
) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 16)
    content = bytearray(SOUND)
    for position, byte in edits:
        content[position] = byte
    path = tmp_path / "m.onnx"
    path.write_bytes(content if whole else content[:cut])
    try:
        json.dumps(inspect(path).to_json())
    except ModelError as error:
        assert "m.onnx" in error.message


CHILD = """
import json, sys
from edgehone.model.inspect import inspect
def read(): return int(open("/proc/self/io").read().split()[1])
before = read()
info = inspect(sys.argv[1])
count = read() - before
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({"parameters": info.parameters, "read": count, "peak": int(peak[0]) * 1024}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs sparse files and /proc")
def test_10_gb_by_headers_only(place: Path) -> None:
    each, count = 500_000_000, 20
    header = varint(9 << 3 | 2) + varint(each)
    head = message((1, each // 4), (2, FLOAT), (8, "w")) + header
    entry = varint(5 << 3 | 2) + varint(len(head) + each) + head
    rest = graph(nodes=tuple(node("MatMul") for _ in range(5000)))
    before = (
        message((1, 10), opset(21)) + varint(7 << 3 | 2) + varint(count * (len(entry) + each) + len(rest))
    )
    with place.open("wb") as file:
        file.write(before)
        for _ in range(count):
            file.write(entry)
            file.seek(each, os.SEEK_CUR)
        file.write(rest)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = json.loads(
        subprocess.run(
            [sys.executable, "-c", CHILD, str(place)],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout
    )
    assert answer["parameters"] == 2_500_000_000
    assert answer["read"] < 20e6 and answer["peak"] < 200e6


def test_weights_in_constant_nodes_are_parameters(place: Path) -> None:
    """Paddle's exporter keeps all weights there, and graphs then have no initializers."""
    weights = message((1, "value"), (5, tensor("w", FLOAT, (16, 8), b"\0" * 512)))
    shape = message((1, "value"), (5, tensor("s", INT64, (2,), b"\0" * 16)))
    filler = message((1, "value"), (5, tensor("f", FLOAT, (1,), b"\0" * 4)))
    other = message((1, "value"), (5, tensor("o", FLOAT, (4,), b"\0" * 16)))
    nodes = (
        node("Constant", "", weights, inputs=(), output="w"),
        node("Constant", "ai.onnx", shape, inputs=(), output="s"),
        node("ConstantOfShape", "", filler, inputs=("s",), output="z"),
        node("Constant", "com.example", other, inputs=(), output="o"),
        node("MatMul", "", inputs=("x", "w")),
    )
    place.write_bytes(model(graph(nodes=nodes)))
    info = inspect(place)
    assert (info.parameters, info.dtypes) == (130, {"F32": 128, "I64": 2})
    assert not any("not counted as parameters" in note for note in info.notes)
    place.write_bytes(model(graph(nodes=nodes[2:])))
    assert inspect(place).parameters == 0
    assert any("5 numbers are in attributes of nodes" in note for note in inspect(place).notes)

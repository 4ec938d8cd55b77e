from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehone.backends.pytorch import backend
from edgehone.core.errors import ModelError
from edgehone.execution.environments import environment
from edgehone.formats import pt2
from edgehone.model.digest import digest_model
from edgehone.model.info import Tensor
from edgehone.model.inspect import inspect

FLOAT, LONG, BFLOAT16 = 7, 5, 13
BATCH = {"as_expr": {"expr_str": "Symbol('s77', positive=True, integer=True)", "hint": {"as_int": 4}}}


def meta(dtype: int, *sizes: int | dict[str, Any]) -> dict[str, Any]:
    strides: list[dict[str, int]] = []
    step = 1
    for size in reversed(sizes):
        strides.insert(0, {"as_int": step})
        step *= size if isinstance(size, int) else 1
    listed = [size if isinstance(size, dict) else {"as_int": size} for size in sizes]
    return {"dtype": dtype, "sizes": listed, "strides": strides, "storage_offset": {"as_int": 0}}


def tensor(name: str) -> dict[str, Any]:
    return {"arg": {"as_tensor": {"name": name}}}


PROGRAM: dict[str, Any] = {
    "graph_module": {
        "graph": {
            "nodes": [
                {"target": "torch.ops.aten.linear.default", "inputs": []},
                {"target": "torch.ops.my_lib.fancy.default", "inputs": []},
                {
                    "target": "torch.ops.higher_order.cond",
                    "inputs": [{"arg": {"as_graph": {"graph": {"nodes": [{"target": "_operator.add"}]}}}}],
                },
            ],
            "tensor_values": {
                "p_w": meta(FLOAT, 8, 16),
                "b_n": meta(LONG),
                "x": meta(FLOAT, BATCH, 16),
                "y": meta(BFLOAT16, BATCH, 8),
            },
        },
        "signature": {
            "input_specs": [
                {"parameter": {"arg": {"name": "p_w"}, "parameter_name": "w"}},
                {"buffer": {"arg": {"name": "b_n"}, "buffer_name": "n", "persistent": True}},
                {"user_input": tensor("x")},
                {"user_input": {"arg": {"as_int": 3}}},
            ],
            "output_specs": [
                {"buffer_mutation": {"arg": {"name": "b_n"}, "buffer_name": "n"}},
                {"user_output": tensor("y")},
            ],
        },
    },
    "schema_version": {"major": 8, "minor": 20},
    "torch_version": "2.13.0",
    "range_constraints": {"s77": {"min_val": 2, "max_val": 64}},
    "guards_code": [],
}


def stored(place: str, described: dict[str, Any] | None, pickled: bool = False) -> dict[str, Any]:
    return {"path_name": place, "is_param": True, "use_pickle": pickled, "tensor_meta": described}


WEIGHTS = {
    "w": stored("weight_0", meta(FLOAT, 8, 16)),
    "tied": stored("weight_0", meta(FLOAT, 8, 16)),
    "n": stored("weight_1", meta(LONG)),
}


def members(program: object = PROGRAM, weights: object = None, constants: object = None) -> dict[str, bytes]:
    return {
        "data/weights/weight_0": b"\0" * 512,
        "data/weights/weight_1": b"\0" * 8,
        "data/weights/model_weights_config.json": json.dumps({"config": weights or WEIGHTS}).encode(),
        "data/constants/model_constants_config.json": json.dumps({"config": constants or {}}).encode(),
        "models/model.json": json.dumps(program).encode(),
        "archive_version": b"0",
    }


def pack(parts: Mapping[str, bytes], root: str = "net/") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(root + name, content)
    return out.getvalue()


def changed(*keys: str | int, to: object) -> dict[str, Any]:
    program = copy.deepcopy(PROGRAM)
    inner: Any = program
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return program


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        inspect(path)
    assert str(path) in caught.value.message
    return caught.value.message


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "net.pt2"


@pytest.mark.parametrize("root", ["net/", ""])
def test_a_complete_program(place: Path, root: str) -> None:
    place.write_bytes(pack(members(), root))
    info = inspect(place.parent)
    assert (info.path, info.format, info.task, info.kind) == (place, "torch-export", "graph", "graph")
    assert info.inputs == (Tensor("x", "float32", ("s77", 16)),)
    assert info.outputs == (Tensor("y", "bfloat16", ("s77", 8)),)
    assert (info.parameters, info.dtypes) == (129, {"F32": 128, "I64": 1})  # tied weights count once
    assert info.operators == ("_operator.add", "aten::linear", "higher_order::cond", "my_lib::fancy")
    assert info.files == ("net.pt2",) and not info.remote_code and info.quantized is None
    notes = "\n".join(info.notes)
    assert "made by torch 2.13.0" in notes and "size s77: from 2 to 64" in notes
    assert "custom operators" in notes and "my_lib::fancy" in notes
    assert "inputs that are not tensors, fixed at export: 1" in notes and "changes 1 of its buffers" in notes
    json.dumps(info.to_json())
    assert len(digest_model(info)) == 64


def test_pickled_weights_are_named_and_not_read(place: Path) -> None:
    place.write_bytes(pack(members(weights={**WEIGHTS, "odd": stored("weight_1", None, pickled=True)})))
    info = inspect(place)
    assert info.remote_code and any("pickled" in note and "odd" in note for note in info.notes)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('id')",
        "exec('x')",
        "Symbol('s0').__class__",
        "Symbol('__import__(0)')",
        "a b",
    ],
)
def test_expressions_that_are_code_are_flagged(place: Path, text: str) -> None:
    size = {"as_expr": {"expr_str": text}}
    place.write_bytes(
        pack(members(changed("graph_module", "graph", "tensor_values", "x", to=meta(FLOAT, size))))
    )
    assert inspect(place).remote_code
    place.write_bytes(pack(members(changed("guards_code", to=["print(1)"]))))
    assert inspect(place).remote_code


@pytest.mark.parametrize(
    "text",
    ["Mul(Integer(2), Symbol('s0', positive=True, integer=True))", "FloorDiv(Symbol('u0'), Integer(-1))", "2*s0",
     "Float('1.5', precision=53)"],
)  # fmt: skip
def test_expressions_over_sizes_are_accepted(place: Path, text: str) -> None:
    size = {"as_expr": {"expr_str": text}}
    place.write_bytes(
        pack(members(changed("graph_module", "graph", "tensor_values", "x", to=meta(FLOAT, size))))
    )
    assert not inspect(place).remote_code


def test_the_layout_before_torch_2_8(place: Path) -> None:
    old = {
        "serialized_exported_program.json": json.dumps(PROGRAM).encode(),
        "serialized_state_dict.pt": b"pickle",
        "version": b"8.1",
    }
    place.write_bytes(pack(old, ""))
    info = inspect(place)
    assert info.parameters == 129 and info.remote_code
    assert any("serialized_state_dict.pt" in note for note in info.notes)


BROKEN = members()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a complete zip archive"),
        (b"garbage" * 100, "not a complete zip archive"),
        (pack(members())[:-30], "not a complete zip archive"),
        (pack({"x": b""}), "no models/"),
        (pack({"data.pkl": b"", "code/x.py": b""}), "TorchScript"),
        (pack({"data/aotinductor/model/x.so": b""}), "AOTInductor"),
        (pack({**BROKEN, "models/b.json": b"{}"}), "2 programs"),
        (pack({**BROKEN, "models/model.json": b"[]"}), "a JSON list"),
        (pack({**BROKEN, "models/model.json": b"[" * 100_000}), "cannot be read"),
        (pack({**BROKEN, "models/model.json": b"{"}), "cannot be read"),
        (pack(members(changed("schema_version", "major", to=9))), "schema version is 9"),
        (pack(members(changed("graph_module", to=None))), "graph_module is None"),
        (pack(members(changed("graph_module", "signature", "input_specs", to=3))), "no input_specs"),
        (pack(members(changed("graph_module", "graph", "nodes", to=[{}]))), "no target"),
        (pack(members(changed("graph_module", "graph", "tensor_values", to={}))), "no tensor is described"),
        (
            pack(members(changed("graph_module", "graph", "tensor_values", "x", to=meta(99)))),
            "unknown dtype 99",
        ),
        (pack(members(weights={"w": stored("weight_9", meta(FLOAT, 2))})), "weight_9', which is missing"),
        (pack(members(weights={"w": stored("weight_0", meta(FLOAT, 999))})), "needs 3996 bytes"),
        (pack(members(weights={"w": stored("weight_0", meta(FLOAT, 2, BATCH))})), "has the shape"),
        (pack(members(constants={"c": stored("tensor_0", meta(FLOAT, 2))})), "tensor_0', which is missing"),
    ],
    # The bytes contain the time: processes that collect the tests at different times must find the same names.
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_an_invalid_file_is_refused(place: Path, content: bytes, said: str) -> None:
    assert said in refused(place, content)


def test_an_absurd_list_of_members_is_not_read(place: Path) -> None:
    whole = bytearray(pack(members()))
    at = whole.rfind(b"PK\x05\x06")
    whole[at + 12 : at + 16] = (2**31).to_bytes(4, "little")
    assert "a central directory of 2147483648 bytes" in refused(place, bytes(whole))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_unpacks_without_a_limit_is_refused(place: Path, method: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members().items():
            archive.writestr("net/" + name, content)
    assert f"is compressed by method {method}" in refused(place, out.getvalue())


def test_two_members_of_one_name(place: Path) -> None:
    whole = pack({**members(), "models/modem.json": b"{}"}).replace(b"modem.json", b"model.json")
    assert "two members named" in refused(place, whole)


def test_a_member_without_a_name(place: Path) -> None:
    content = pack({"@": b"1"}, root="").replace(b"@", b"\0")
    assert "a member without a name" in refused(place, content)


SOUND = pack(members())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=2000)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, len(SOUND)),
    whole=st.booleans(),
)
def test_any_mutation_is_read_or_refused(
    tmp_path: Path, edits: list[tuple[int, int]], cut: int, whole: bool
) -> None:
    content = bytearray(SOUND)
    for position, byte in edits:
        content[position] = byte
    read_or_refused(tmp_path / "m.pt2", bytes(content if whole else content[:cut]))


PLACES = [
    ("graph_module", "graph", "nodes", 2, "inputs", 0, "arg"),
    ("graph_module", "graph", "tensor_values", "x", "sizes", 0),
    ("graph_module", "graph", "tensor_values", "x", "sizes", 0, "as_expr"),
    ("graph_module", "signature", "input_specs", 2, "user_input"),
    ("graph_module", "signature", "output_specs", 1, "user_output", "arg"),
    ("graph_module", "signature", "output_specs", 0),
    ("range_constraints", "s77"),
    ("schema_version",),
    ("guards_code",),
    ("torch_version",),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["as_int", "as_expr", "as_tensor", "name", "arg"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=2000)
@given(where=st.sampled_from(PLACES), value=VALUES, weight=VALUES)
def test_any_value_is_read_or_refused(
    tmp_path: Path, where: tuple[str | int, ...], value: object, weight: object
) -> None:
    program = changed(*where, to=value)
    read_or_refused(tmp_path / "m.pt2", pack(members(program, weights={**WEIGHTS, "n": weight})))


def read_or_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        json.dumps(inspect(path).to_json())
    except ModelError as error:
        assert path.name in error.message


SAVE = """
import sys, torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(16, 8), torch.nn.Linear(8, 4).bfloat16()
        self.register_buffer("steps", torch.ones(3, dtype=torch.int64))
    def forward(self, x, items):
        y = self.first(x) * self.steps.sum() + items[0].sum()
        return {"wide": y, "narrow": (self.second(y.bfloat16()), 3)}
batch = torch.export.Dim("batch", min=2, max=64)
program = torch.export.export(
    Net(), (torch.randn(4, 16), [torch.ones(2)]), dynamic_shapes={"x": {0: batch}, "items": [None]}
)
torch.export.save(program, sys.argv[1])
"""


SHARED = """
import sys, torch
from torch.export import Dim, export

class Net(torch.nn.Module):
    def forward(self, ids, keep): return (ids * keep).sum(1) + keep[:, : ids.shape[1] // 2].sum(1)

sizes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC, 1: Dim.DYNAMIC})
torch.export.save(export(Net(), (torch.ones(3, 8), torch.ones(3, 8)), dynamic_shapes=sizes), sys.argv[1])
"""


@pytest.mark.real
def test_inputs_that_share_dynamic_sizes_are_accepted(place: Path) -> None:
    import json
    import subprocess
    import zipfile

    env = environment.ensure("pytorch", backend.NEEDS, lambda line: None)
    subprocess.run([str(env.python), "-c", SHARED, str(place)], check=True, capture_output=True)
    with zipfile.ZipFile(place) as file:
        (name,) = [one for one in file.namelist() if one.endswith("models/model.json")]
        assert json.loads(file.read(name))["guards_code"]
    pt2.check(place)
    assert not inspect(place).remote_code and backend.supports(inspect(place)).ok


@pytest.mark.real
def test_what_torch_saves_is_read(place: Path) -> None:
    import subprocess

    env = environment.ensure("pytorch", backend.NEEDS, lambda line: None)
    subprocess.run([str(env.python), "-c", SAVE, str(place)], check=True, capture_output=True)
    pt2.check(place)
    info = inspect(place)
    assert info.parameters == 16 * 8 + 8 + 8 * 4 + 4 + 3
    assert info.dtypes == {"BF16": 36, "F32": 136, "I64": 3}
    assert info.inputs[1] == Tensor("items_0", "float32", (2,))
    (symbol, width) = info.inputs[0].shape
    assert (info.inputs[0].name, info.inputs[0].dtype, width) == ("x", "float32", 16)
    assert isinstance(symbol, str) and f"size {symbol}: from 2 to 64" in info.notes
    assert [(out.dtype, out.shape) for out in info.outputs] == [
        ("float32", (symbol, 8)),
        ("bfloat16", (symbol, 4)),
    ]
    assert "aten::linear" in info.operators
    assert not info.remote_code and "outputs that are not tensors: 1" in info.notes

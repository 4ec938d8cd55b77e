"""The allow-list of what a .pt2 archive may hold."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import ModelError
from edgehone.formats import pt2

ARCHIVE: dict[str, Any] = {
    "models/model.json": {"graph_module": {"graph": {"nodes": [{"target": "torch.ops.aten.relu.default"}]}}},
    "data/weights/model_weights_config.json": {
        "config": {"w": {"path_name": "weight_0", "use_pickle": False}}
    },
    "data/weights/weight_0": "",
    "data/constants/model_constants_config.json": {"config": {}},
    "archive_version": "0",
}

# As torch 2.13 writes them for inputs that share a dynamic batch, are lists or dicts, or are reshaped.
GUARDS = [
    "L['ids'].size()[0] == L['keep'].size()[0]",
    "L['xs'][0].size()[0] == L['d']['k'].size()[0]",
    "((3*L['a'].size()[0]) % 6) == 0",
    "(3*max(1, L['a'].size()[0] // (L['a'].size()[0] // 2))) == (3*(L['a'].size()[0] // -2))",
    "max(1, L['a'].size()[3] // 2)*max(1, L['a'].size()[2] // 2) > 1",
    "L['b'].size()[1] <= L['a'].size()[1]",
]

# Python that is not a comparison of sizes, though it looks like one.
CODE = [
    "print(1)",
    "L['a'].size()[0] == print(1)",
    "L['a'].size()[0]",
    "L['a'].size()[print(1)] == 1",
    "L['a'].size(print(1))[0] == 1",
    "L['a'].size(*[print(1)])[0] == 1",
    "L['a'].__class__()[0] == 1",
    "G['a'].size()[0] == 1",
    "L[0].size()[0] == 1",
    "L['a b'].size()[0] == 1",
    "L[print(1)].size()[0] == 1",
    "L['a'].size()[0] ** 99999999 == 1",
    "L['a'].size()[0] == 1 if print(1) else 2",
    "[L['a'].size()[0] == 1 for _ in [print(1)]]",
    "max(1, key=print) == 1",
    "eval(1) == 1",
    "1 == (x := 2)",
    "L['a'].size()[0] == 1\nprint(1)",
    "(" * 900 + "1" + ")" * 900 + " == 1 or print(1)",
    "1 == " + "-" * 3000 + "1",
    "",
    3,
]


def archive(folder: Path, changes: dict[str, Any], root: str = "net/") -> Path:
    path = folder / "net.pt2"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (ARCHIVE | changes).items():
            file.writestr(f"{root}{name}", json.dumps(content))
    return path


def graph(key: str, value: Any) -> dict[str, Any]:
    return {"models/model.json": {"graph_module": {"graph": {"nodes": [{key: value}]}}}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data/sample_inputs/model.pt": ""},
        {".data/serialization_id": "1"},
        graph("expr_str", "Symbol('s77', positive=True, integer=True)"),
        graph("expr_str", "Mul(Integer(2), Symbol('s0', positive=True, integer=True))"),
        graph("expr_str", "FloorDiv(s0 - 1, 2) + 1"),
        graph("expr_str", "FloorDiv(Symbol('u0'), Integer(-1))"),
        graph("expr_str", "Max(1, s0*s1) <= 4"),
        graph("expr_str", "Float('1.5', precision=53)"),
        graph("parameter_name", "layers.0.weight"),
        graph("target", "torch.ops.aten.__and__.Tensor"),
        graph("target", "torch.ops.aten._softmax.default"),
        graph("target", "_operator.add"),
        graph("target", "torch.sym_max"),
        graph("target", "buffer_name"),
        {"models/model.json": {"guards_code": GUARDS}},
        graph("stack_trace", "File 'net.py', line 3: x = eval('1')"),
    ],
)
def test_what_torch_export_writes_is_accepted(tmp_path: Path, changes: dict[str, Any]) -> None:
    pt2.check(archive(tmp_path, changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data/constants/opaque_obj_0": ""}, "opaque_obj_0"),
        ({"data/constants/custom_obj_0": ""}, "custom_obj_0"),
        ({"data/weights/model.pt": ""}, "model.pt"),
        ({"data/weights/weight_0.so": ""}, "weight_0.so"),
        ({"data/aotinductor/model/wrapper.so": ""}, "wrapper.so"),
        (
            {"data/weights/model_weights_config.json": {"config": {"w": {"use_pickle": True}}}},
            "'w' as a pickle",
        ),
        ({"data/constants/model_constants_config.json": {"config": {"c": {}}}}, "'c' as a pickle"),
        ({"models/model.json": {"guards_code": "L['a'].size()[0] == 1"}}, "guard"),
        *(({"models/model.json": {"guards_code": [*GUARDS, guard]}}, "guard") for guard in CODE),
        (graph("target", "torch.os.system"), "torch.os.system"),
        (graph("target", "torch.ops.__class__.__init__"), "__init__"),
        (graph("target", "torch.ops.aten.__class__"), "__class__"),
        (graph("target", "torch.ops.aten.relu._op"), "_op"),
        (graph("target", "torch.ops._dir.append"), "_dir"),
        (graph("name", "x=__import__('os').system('true')"), "system"),
        (graph("name", ["x", "y\n"]), "y"),
        (graph("expr_str", "__import__('os').system('true')"), "system"),
        (graph("expr_str", "exec('x')"), "exec"),
        (graph("expr_str", "s0.__class__"), "__class__"),
        (graph("expr_str", "Symbol('s0').__class__"), "__class__"),
        (graph("expr_str", "Symbol('__import__(0)')"), "__import__"),
        (graph("expr_str", "eval('s0')"), "eval"),
        (graph("expr_str", "Eval('s0')"), "Eval"),
        (graph("expr_str", "(lambda: 1)()"), "lambda"),
        (graph("expr_str", "Max('print(1)')"), "print"),
        (graph("expr_str", "a b"), "a b"),
        (graph("expr_str", ["s0"]), "s0"),
    ],
)
def test_an_archive_that_could_run_code_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        pt2.check(archive(tmp_path, changes))
    assert message in caught.value.message and "not loaded" in caught.value.message and caught.value.hint


@pytest.mark.parametrize("root", ["", "a/b/"])
def test_members_outside_of_one_folder_are_refused(tmp_path: Path, root: str) -> None:
    with pytest.raises(ModelError):
        pt2.check(archive(tmp_path, {}, root))


def test_folder_entries_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, {})
    with zipfile.ZipFile(path, "a") as file:
        file.mkdir("net/data")
    with pytest.raises(ModelError, match="files of one folder"):
        pt2.check(path)


def test_the_layout_with_pickled_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("old/serialized_exported_program.json", "{}")
        file.writestr("old/serialized_state_dict.pt", b"")
    with pytest.raises(ModelError, match="pickled weights"):
        pt2.check(path)


@given(st.binary(max_size=200))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    path.write_bytes(noise)
    with pytest.raises(ModelError):
        pt2.check(path)


@pytest.mark.parametrize(
    "missing",
    [
        "models/model.json",
        "data/weights/model_weights_config.json",
        "data/constants/model_constants_config.json",
    ],
)
def test_an_archive_that_lacks_a_part_is_refused(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in ARCHIVE.items():
            if name != missing:
                file.writestr(f"net/{name}", json.dumps(content))
    with pytest.raises(ModelError, match="has no "):
        pt2.check(path)

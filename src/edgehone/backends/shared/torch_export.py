"""Opens a .pt2 (torch.export) without running what it holds (worker side).

`torch.export.load` of torch 2.13 runs code from the file in six ways: torch.load(weights_only=False) of tensors
marked `use_pickle`, of the old format's weights, and of example inputs whose safe load failed; pickle.loads of
opaque objects; compiled libraries (AOTInductor) are loaded as such; sympy.sympify, which evaluates, of
shape expressions; the guards' source, executed by `module()`; and names, which go into generated source.
So the archive is read here first, and refused where it has any of these in a form other than torch's exporter
writes for tensors; safe loading is forced, and the guards are dropped.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError

_MODEL = "models/model.json"
_ENTRIES = re.compile(
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
)
_NAME = re.compile(r"[\w.\-]*")
_TARGET = re.compile(
    r"torch\.ops\.[a-z]\w*\.[A-Za-z]\w*(\.[A-Za-z]\w*)?|torch\.ops\.aten\.__\w+__\.\w+"
    r"|torch\.sym_[a-z]+|torch\._sym_[a-z]+|_operator\.[a-z]\w*|math\.[a-z]\w*"
)
# Sums, products, comparisons and calls: no attribute, no subscript, no string but a symbol's name or a number.
_EXPRESSION = re.compile(r"([A-Za-z0-9_+\-*/%(), <>=!&|~]|'\w+'|'\d+\.\d*'|\d\.\d)*")
_CALLABLE = re.compile(r"([A-Za-z_]\w*)\s*\(")
_FUNCTIONS = frozenset(
    """
    Symbol Integer Float Rational Add Mul Pow Abs Max Min Eq Ne Lt Le Gt Ge And Or Not Piecewise Where FloorDiv CleanDiv
    CeilDiv IntTrueDiv FloatTrueDiv Mod PythonMod ModularIndexing LShift RShift PowByNatural FloatPow CeilToInt
    FloorToInt TruncToInt TruncToFloat RoundToInt RoundDecimal ToFloat Identity IsNonOverlappingAndDenseIndicator
    """.split()  # noqa: SIM905
)
_NAMED = (
    "name",
    "parameter_name",
    "buffer_name",
    "tensor_constant_name",
    "as_name",
    "input_name",
    "obj_name",
)
_HINT = "export it again with torch.export.save from plain tensors, or to ONNX"


def load(path: Path) -> Any:
    """The torch.export.ExportedProgram in `path`. Raises ModelError for a file that asks to run code, or is damaged."""
    check(path)
    import torch

    try:
        with _weights_only():
            program = torch.export.load(path)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} holds a pickle of more than tensors, which may be code: it is not opened", hint=_HINT
        ) from error
    program._guards_code = []
    return program


def input_shapes(program: Any) -> list[list[int]]:
    """The shapes of the user's inputs, in order; -1 where a dimension is free."""
    wanted = set(program.graph_signature.user_inputs)
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]
    return [
        [size if isinstance(size, int) else -1 for size in node.meta["val"].shape] for node in placeholders
    ]


@contextmanager
def _weights_only() -> Iterator[None]:
    """torch.load takes this over whatever its caller asks for: a pickle can then make tensors and nothing else."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def check(path: Path) -> None:
    """Read the archive as data. Raises ModelError where it holds more than tensors and a graph of known form."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {_inner(name): name for name in archive.namelist()}
            _check_entries(path, names)
            for name in (
                "data/weights/model_weights_config.json",
                "data/constants/model_constants_config.json",
            ):
                _check_payloads(path, json.loads(archive.read(names[name])))
            _check_graph(path, json.loads(archive.read(names[_MODEL])))
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no sound .pt2 archive: {error}", hint=_HINT) from error


def _inner(name: str) -> str:
    """Without the archive's own folder."""
    return name.partition("/")[2]


def _check_entries(path: Path, names: dict[str, str]) -> None:
    for inner, name in names.items():
        if not _ENTRIES.fullmatch(inner):
            raise ModelError(f"{path} holds {name!r}, which may be code: it is not opened", hint=_HINT)
    if len({name.partition("/")[0] for name in names.values()}) > 1:
        raise ModelError(f"{path} holds more than one folder", hint=_HINT)


def _check_payloads(path: Path, config: Any) -> None:
    for name, payload in config["config"].items():
        if payload["use_pickle"] is not False:
            raise ModelError(
                f"{path} holds {name!r} as a pickle, which may be code: it is not opened", hint=_HINT
            )


def _check_graph(path: Path, value: Any, key: str = "") -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_graph(path, inner, name)
    elif isinstance(value, list):
        for inner in value:
            _check_graph(path, inner, key)
    elif isinstance(value, str) and not _harmless(key, value):
        raise ModelError(
            f"{path} has {value[:80]!r} as {key}: that is not what torch.export writes", hint=_HINT
        )


def _harmless(key: str, value: str) -> bool:
    if key in _NAMED:
        return _NAME.fullmatch(value) is not None
    if key == "target":
        # A name, as buffer mutations have, is looked up; a path is followed.
        return _TARGET.fullmatch(value) is not None or re.fullmatch(r"\w*", value) is not None
    if key == "expr_str":
        called = set(_CALLABLE.findall(value))
        return _EXPRESSION.fullmatch(value) is not None and "__" not in value and called <= _FUNCTIONS
    return True

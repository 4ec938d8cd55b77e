"""The allow-list of what a .pt2 archive (torch.export.save) may hold, so that loading it cannot run code.

`torch.export.load` of torch 2.13 runs code from the file in six ways:

1. `torch.load(weights_only=False)` of tensors marked `use_pickle`, of the weights in the layout before torch 2.8,
   and of example inputs whose safe load failed;
2. `pickle.loads` of opaque objects;
3. loading of compiled libraries (AOTInductor);
4. `sympy.sympify`, which evaluates Python, of shape expressions;
5. execution of the guards' source by `module()` (`backends.shared.torch_export` drops the guards after loading);
6. insertion of names into generated source.

`check` reads the archive as data and refuses all of these unless they have the form that torch's exporter writes for
plain tensors. Example inputs (a pickle) are allowed: load them with `weights_only=True`. Only the standard library is
used here, so that both the core and the workers apply the same list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError
from edgehone.formats.pt2_guards import is_size_guard
from edgehone.formats.zip_archive import Archive

# The program in the layout before torch 2.8, whose weights are pickled.
OLD_PROGRAM = "serialized_exported_program.json"
HINT = "export it again with torch.export.save from plain tensors, or to ONNX"

_MEMBERS = re.compile(
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
)
_NAME = re.compile(r"[\w.\-]*")
_NAME_KEYS = frozenset({
    "name", "parameter_name", "buffer_name", "tensor_constant_name", "as_name", "input_name", "obj_name",
})  # fmt: skip
# Attribute paths that torch resolves, or a plain name, which it looks up (buffer mutations have one). The names of
# operators may start with one underscore (aten._softmax): so named attributes of torch.ops.* are operators or data.
_TARGET = re.compile(
    r"torch\.ops\.[a-z]\w*\._?[A-Za-z]\w*(\.[A-Za-z]\w*)?|torch\.ops\.aten\.__\w+__\.\w+"
    r"|torch\.sym_[a-z]+|torch\._sym_[a-z]+|_operator\.[a-z]\w*|math\.[a-z]\w*|\w*"
)
# Sums, products, comparisons and calls over sizes, as sympy prints them: no attribute, no subscript, and no string
# except a symbol's name or a number.
_EXPRESSION = re.compile(
    r"(?:[A-Z]\w*+(?=\()|\w++(?==)|True|False|[a-z]++\d++|'\w++'|'\d++\.\d*+'|\d++(?:\.\d++)?|int_oo"
    r"|[-+*/<>=(), ])*+"
)
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_FUNCTIONS = frozenset({
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Abs", "Max", "Min", "Eq", "Ne", "Lt", "Le", "Gt",
    "Ge", "And", "Or", "Not", "Piecewise", "Where", "FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv",
    "Mod", "PythonMod", "ModularIndexing", "LShift", "RShift", "PowByNatural", "FloatPow", "CeilToInt", "FloorToInt",
    "TruncToInt", "TruncToFloat", "RoundToInt", "RoundDecimal", "ToFloat", "Identity",
    "IsNonOverlappingAndDenseIndicator",
})  # fmt: skip


def check(path: Path) -> None:
    """Refuse an archive that holds anything but tensors and a graph of the known form.

    Raises ModelError if the archive is damaged, lacks a part, or could run code when loaded. The message has the
    offending value.
    """
    archive = Archive(path)
    if not archive.root or archive.folders:
        raise archive.invalid("its members are not the files of one folder")
    name = program_name(archive)
    for finding in code_findings(archive, name, archive.json(name)):
        raise ModelError(f"{path} {finding}: it is not loaded", hint=HINT)


def program_name(archive: Archive) -> str:
    """Return the member that holds the program. Raises ModelError unless there is exactly one."""
    if OLD_PROGRAM in archive.members:
        return OLD_PROGRAM
    programs = sorted(name for name in archive.members if re.fullmatch(r"models/[^/]+\.json", name))
    if len(programs) == 1:
        return programs[0]
    if programs:
        raise archive.invalid(
            f"it has {len(programs)} programs ({', '.join(programs[:5])}); save one program per file"
        )
    if any(name.startswith("data/aotinductor/") for name in archive.members):
        raise archive.invalid(
            "it is compiled for one machine (AOTInductor); use the file from torch.export.save"
        )
    if any(name == "data.pkl" or name.startswith("code/") for name in archive.members):
        raise archive.invalid(
            "it is a pickled checkpoint or TorchScript, and loading a pickle runs the code in it"
        )
    raise archive.invalid("it has no models/*.json")


def payloads(archive: Archive, program: str, kind: str) -> dict[str, dict[str, Any]]:
    """Return the entries that describe the "weights" or "constants" of a program (its member name), by name.

    Raises ModelError if they are missing or not JSON objects.
    """
    stem = program.removeprefix("models/").removesuffix(".json")
    member = f"data/{kind}/{stem}_{kind}_config.json"
    entries = archive.json(member).get("config")
    if not isinstance(entries, dict):
        raise archive.invalid(f"{member} has no config")
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise archive.invalid(f"{member} describes {name!r} by {shorten(entry)}, not by an object")
    return entries


def code_findings(archive: Archive, name: str, program: Mapping[str, Any]) -> Iterator[str]:
    """Yield, as the end of a sentence about the file, everything that could run code when torch loads it.

    `name` is the member of the JSON object `program`.
    """
    if name == OLD_PROGRAM:
        yield "has pickled weights (the layout before torch 2.8), which may be code"
        return
    for member in archive.members:
        if not _MEMBERS.fullmatch(member):
            yield f"holds {member!r}, which may be code"
    for kind in ("weights", "constants"):
        for weight, entry in payloads(archive, name, kind).items():
            if entry.get("use_pickle") is not False:
                yield f"holds {weight!r} as a pickle, which may be code"
    for guard in _guards(program):
        if not is_size_guard(guard):
            yield f"holds the guard {shorten(guard)}, Python source that is not a comparison of the inputs' sizes"
    for key, value in _strings(program):
        if not _is_allowed(key, value):
            yield f"has {shorten(value)} as {key}, which torch.export does not write"


def _guards(program: Mapping[str, Any]) -> list[Any]:
    """Return the guards. What stands in their place and is no list is returned as one guard that is no string."""
    guards = program.get("guards_code") or []
    return guards if isinstance(guards, list) else [[guards]]


def _strings(program: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every string below `program` with the nearest key above it, and every value of "expr_str"."""
    pending: list[tuple[str, Any]] = [("", program)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, str) or key == "expr_str":
            yield key, value
        if isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += ((key, item) for item in value)


def _is_allowed(key: str, value: Any) -> bool:
    if key in _NAME_KEYS:
        return _NAME.fullmatch(value) is not None
    if key == "target":
        return _TARGET.fullmatch(value) is not None
    if key == "expr_str":
        if not isinstance(value, str) or "__" in value or not _EXPRESSION.fullmatch(value):
            return False
        return set(_CALL.findall(value)) <= _FUNCTIONS
    return True


def shorten(value: Any) -> str:
    """Return the repr of a value for a message, at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

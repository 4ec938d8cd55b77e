"""The facts about an exported PyTorch program (.pt2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgehone.formats.pt2_program import Program, read_program
from edgehone.model.info import ModelInfo
from edgehone.model.licence import read_licence

# Namespaces of operators that torch itself registers.
_TORCH_NAMESPACES = frozenset({
    "aten", "prims", "prim", "higher_order", "quantized_decomposed", "quantized", "profiler",
})  # fmt: skip


def read(path: Path) -> ModelInfo:
    """Read the facts about the exported program in `path`.

    Raises ModelError if the archive is damaged, compiled (AOTInductor) or TorchScript, holds several programs, or has
    another schema.
    """
    program = read_program(path)
    quantized = any(name.startswith(("quantized", "torchao::")) for name in program.operators)
    return ModelInfo(
        path=path,
        format="torch-export",
        architecture="ExportedProgram",
        model_type="torch-export",
        task="graph",
        parameters=sum(program.dtypes.values()),
        bytes=path.stat().st_size,
        dtypes=program.dtypes,
        files=(path.name,),
        licence=read_licence(path.parent),
        quantized="qdq" if quantized else None,
        remote_code=bool(program.pickled or program.code),
        notes=tuple(_notes(program)),
        inputs=program.inputs,
        outputs=program.outputs,
        operators=program.operators,
    )


def _notes(program: Program) -> Iterator[str]:
    yield f"schema {program.schema}" + (
        f", made by torch {program.torch_version}" if program.torch_version else ""
    )
    sizes = {extent for tensor in program.inputs for extent in tensor.shape}
    for name, (low, high) in sorted(program.ranges.items()):
        if name in sizes:
            yield f"size {name}: from {0 if low is None else low} to {'any' if high is None else high}"
    if program.pickled:
        more = f" and {len(program.pickled) - 3} more" if len(program.pickled) > 3 else ""
        names = ", ".join(program.pickled[:3])
        yield f"pickled and therefore not read, because loading a pickle runs the code in it: {names}{more}"
    if program.code:
        yield f"loading it with torch could run code: it {'; it '.join(program.code)}"
    if program.other_inputs:
        yield f"inputs that are not tensors, fixed at export: {program.other_inputs}"
    if program.other_outputs:
        yield f"outputs that are not tensors: {program.other_outputs}"
    if program.mutations:
        yield f"a run changes {program.mutations} of its buffers, parameters or inputs"
    custom = [
        name
        for name in program.operators
        if "::" in name and name.partition("::")[0] not in _TORCH_NAMESPACES
    ]
    if custom:
        yield f"custom operators, which need the library that registers them: {', '.join(custom)}"

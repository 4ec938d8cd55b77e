"""Give a file in ORT format the same bytes for the same graph (worker side).

ONNX Runtime writes which types the operators' kernels have as a table in the order of a hash map, whose seed is another
one in every process. Here that table is written again, sorted; the graph is kept byte for byte.
"""

from __future__ import annotations

from typing import Any

# The file's alignment is a power of two up to this.
_ALIGNMENT = 64

Entries = list[tuple[bytes, list[tuple[bytes, list[tuple[int, int]]]]]]


def sorted_kernel_types(data: bytes) -> bytes:
    """Return the file with its table of kernel types sorted."""
    import flatbuffers
    from onnxruntime.tools.ort_format_model.ort_model_processor import fbs

    session = fbs.InferenceSession.InferenceSession.GetRootAs(bytearray(data), 0)
    entries = _entries(session.KernelTypeStrResolver())
    # A FlatBuffer is written from its end: the graph and all that it refers to lie behind its table and its header.
    position = session.Model()._tab.Pos
    kept = data[min(position, _header(data, position)) :]
    builder = flatbuffers.Builder(len(data) + (1 << 16))
    builder.minalign = next(size for size in (_ALIGNMENT, 32, 16, 8, 4) if len(data) % size == 0)
    builder.head -= len(kept)
    builder.Bytes[builder.head :] = kept
    resolver = _write_entries(builder, fbs, entries)
    version = builder.CreateString(session.OrtVersion().decode())
    fbs.InferenceSession.InferenceSessionStart(builder)
    fbs.InferenceSession.InferenceSessionAddOrtVersion(builder, version)
    fbs.InferenceSession.InferenceSessionAddModel(builder, len(data) - position)
    fbs.InferenceSession.InferenceSessionAddKernelTypeStrResolver(builder, resolver)
    builder.Finish(fbs.InferenceSession.InferenceSessionEnd(builder), b"ORTM")
    return bytes(builder.Output())


def _header(data: bytes, table: int) -> int:
    """Return the position of a table's header (its vtable), to which the table begins with a signed offset."""
    return table - int.from_bytes(data[table : table + 4], "little", signed=True)


def _entries(resolver: Any) -> Entries:
    """Return the table: operator → name of a type → (whether of an input or output, its index)."""
    found: Entries = []
    for at in range(resolver.OpKernelTypeStrArgsLength()):
        operator = resolver.OpKernelTypeStrArgs(at)
        kinds = [operator.KernelTypeStrArgs(one) for one in range(operator.KernelTypeStrArgsLength())]
        named = [
            (
                kind.KernelTypeStr(),
                [(a.ArgType(), a.Index()) for a in map(kind.Args, range(kind.ArgsLength()))],
            )
            for kind in kinds
        ]
        found.append((operator.OpId(), sorted(named)))
    return sorted(found)


def _write_entries(builder: Any, fbs: Any, entries: Entries) -> int:
    operators = []
    for operator, kinds in entries:
        named = []
        for kind, arguments in kinds:
            args = [_write_argument(builder, fbs.ArgTypeAndIndex, *one) for one in arguments]
            text, vector = builder.CreateString(kind.decode()), _vector(builder, args)
            fbs.KernelTypeStrArgsEntry.KernelTypeStrArgsEntryStart(builder)
            fbs.KernelTypeStrArgsEntry.KernelTypeStrArgsEntryAddKernelTypeStr(builder, text)
            fbs.KernelTypeStrArgsEntry.KernelTypeStrArgsEntryAddArgs(builder, vector)
            named.append(fbs.KernelTypeStrArgsEntry.KernelTypeStrArgsEntryEnd(builder))
        entry = fbs.OpIdKernelTypeStrArgsEntry
        text, vector = builder.CreateString(operator.decode()), _vector(builder, named)
        entry.OpIdKernelTypeStrArgsEntryStart(builder)
        entry.OpIdKernelTypeStrArgsEntryAddOpId(builder, text)
        entry.OpIdKernelTypeStrArgsEntryAddKernelTypeStrArgs(builder, vector)
        operators.append(entry.OpIdKernelTypeStrArgsEntryEnd(builder))
    vector = _vector(builder, operators)
    fbs.KernelTypeStrResolver.KernelTypeStrResolverStart(builder)
    fbs.KernelTypeStrResolver.KernelTypeStrResolverAddOpKernelTypeStrArgs(builder, vector)
    return int(fbs.KernelTypeStrResolver.KernelTypeStrResolverEnd(builder))


def _write_argument(builder: Any, module: Any, kind: int, index: int) -> int:
    module.ArgTypeAndIndexStart(builder)
    module.ArgTypeAndIndexAddArgType(builder, kind)
    module.ArgTypeAndIndexAddIndex(builder, index)
    return int(module.ArgTypeAndIndexEnd(builder))


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for one in reversed(offsets):
        builder.PrependUOffsetTRelative(one)
    return int(builder.EndVector())

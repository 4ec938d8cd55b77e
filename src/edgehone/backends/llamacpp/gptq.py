"""GPTQ within llama.cpp's formats (worker side): new codes and scales in the same format and file size.

llama-quantize rounds each weight on its own. GPTQ (Frantar et al., 2022) rounds one column at a time and compensates
its error in the remaining columns, using the second moments of the layer's inputs on the calibration text. The scales
are those that llama-quantize chose; `descent` then improves codes and scales together. Any llama.cpp can read the file.

The model is run block by block (`pytorch.streamed`): a block's moments are those of inputs that come from the quantized
blocks before it, so that later blocks compensate the errors of earlier ones. The exact model's hidden states run beside
them, so that the weights to be rounded give its outputs for the inputs as they are (`shared.gptq.shift`).
One block and its moments are in memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp import descent, lookup_gptq, mixed_precision
from edgehone.backends.llamacpp.build import facts
from edgehone.backends.llamacpp.codes import codes, grid, with_codes
from edgehone.backends.llamacpp.gptq_work import SHARE, SWEEPS, WINDOW, calibration_tokens, is_thorough
from edgehone.backends.llamacpp.lookup import TABLES, UNIT
from edgehone.backends.llamacpp.scales import FORMS
from edgehone.backends.llamacpp.tools import ARTIFACT, toolchain_of
from edgehone.backends.pytorch import streamed
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared import gptq
from edgehone.backends.shared.gptq import Factor, Levels
from edgehone.backends.shared.moments import Group, Moments, recorded
from edgehone.backends.shared.products import each_in_a_thread, product
from edgehone.formats.gguf import read_header

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# Weights that a thread rounds at a time; each takes about 30 bytes meanwhile.
_CHUNK = 1 << 22


def refine(job: WorkerJob) -> dict[str, Any]:
    """Replace the codes of the quantized model.gguf by GPTQ's, and write out/model.gguf.

    inputs: model (the checkpoint), calibration, quantized, converted (its source). args: head (also the head, or the
    embeddings if they are tied to it), mix, if `quantize` had one. Layers whose type has no known layout, or whose name
    is missing in llama.cpp's table, stay unchanged. Facts: refined (number of tensors), unfed (layers of the checkpoint
    whose quantized weights could not be used to compute the following inputs), gptq_tokens, tensor_types and bytes of
    the file, and its mix.
    """
    import torch

    torch.set_num_threads(job.threads)
    out = job.out / ARTIFACT
    shutil.copyfile(job.inputs["quantized"] / ARTIFACT, out)
    stream = streamed.open_stream(job.inputs["model"])
    chosen = _windows(job, stream)
    target = _Target.open(job, out, _parameters(stream))
    folder = job.out / ".activations"
    with streamed.without_gradients():
        states = _States.embedded(stream, chosen, folder, target.thorough)
        _refine_blocks(job, stream, states, target)
        if job.args.get("head"):
            _refine_head(stream, states, target)
    target.flush()
    states.remove()
    folder.rmdir()
    found = {"refined": target.refined, "unfed": target.unfed, "gptq_tokens": sum(map(len, chosen))}
    found |= facts(out)
    if "mix" in job.args:
        mix = mixed_precision.assigned_types(job, job.inputs["converted"] / ARTIFACT)
        found |= mixed_precision.facts(mix, out)
    return found


def _parameters(stream: streamed.LayerStream) -> int:
    return sum(one.numel() for one in stream.model.parameters())


def _windows(job: WorkerJob, stream: streamed.LayerStream) -> list[list[int]]:
    """Return windows of equal length from the start of the calibration text."""
    ids = json.loads((job.inputs["calibration"] / "ids.json").read_text("utf-8"))
    bos = json.loads((job.inputs["calibration"] / "bos.json").read_text("utf-8"))
    tokens = calibration_tokens(_parameters(stream))
    context = getattr(stream.model.config, "max_position_embeddings", None) or WINDOW
    step = max(1, min(WINDOW, context, len(ids) + len(bos)) - len(bos))
    count = max(1, min(tokens, len(ids)) // step)
    return [bos + ids[at * step : (at + 1) * step] for at in range(count)]


def _refine_blocks(job: WorkerJob, stream: streamed.LayerStream, states: _States, target: _Target) -> None:
    """Refine block after block; each gets the outputs of the quantized ones before it."""
    names = {id(module): name for name, module in stream.model.named_modules()}
    for number in range(len(stream.blocks)):
        job.progress(number / len(stream.blocks), f"GPTQ, block {number + 1} of {len(stream.blocks)}")
        with stream.resident(number):
            moments = Moments()
            for window in range(len(states.own)):
                _note_moments(stream, number, states, window, (moments, names))
            for group in moments.groups():
                target.refine_group(group)
            del moments
            for window in range(len(states.own)):
                states.own[window] = stream.run(number, states.own[window])


def _note_moments(
    stream: streamed.LayerStream,
    number: int,
    states: _States,
    window: int,
    noting: tuple[Moments, dict[int, str]],
) -> None:
    """Add the inputs of a block's layers for a window, and run the exact model's states on where they are known."""
    moments, names = noting
    block = stream.blocks[number]
    if states.exact is None:
        with moments.of(block, names):
            stream.run(number, states.own[window])
        return
    with recorded(block, names) as exact:
        after = stream.run(number, states.exact[window])
    with moments.of(block, names, exact):
        stream.run(number, states.own[window])
    # Only now, since inputs may be the hidden states themselves.
    states.exact[window] = after


def _refine_head(stream: streamed.LayerStream, states: _States, target: _Target) -> None:
    name = next(
        name
        for name, module in stream.model.named_modules()
        if getattr(module, "weight", None) is stream.head.weight
    )
    moments = Moments()
    for window in range(len(states.own)):
        exact = None if states.exact is None else stream.normalized(states.exact[window])
        moments.add(name, None, stream.normalized(states.own[window]), exact)
    for group in moments.groups():
        target.refine_group(group)


@dataclass(frozen=True)
class _States:
    """The hidden states between the blocks: those after the quantized blocks, and, if asked for, of the exact model."""

    own: streamed.Activations
    exact: streamed.Activations | None

    @classmethod
    def embedded(
        cls, stream: streamed.LayerStream, windows: Sequence[Sequence[int]], folder: Path, exact: bool
    ) -> _States:
        """Return the inputs of the first block, in new files."""
        own = stream.embed(windows, folder / "hidden.npy")
        return cls(own, stream.embed(windows, folder / "exact.npy") if exact else None)

    def remove(self) -> None:
        """Delete the files."""
        self.own.remove()
        if self.exact is not None:
            self.exact.remove()


@dataclass
class _Target:
    """The quantized file that is changed in place, and the file that it was quantized from."""

    source: Mapping[str, Any]
    tensors: Mapping[str, Any]
    name_of: Callable[[str], str | None]
    data: Any
    thorough: bool
    threads: int
    refined: int = 0
    unfed: int = 0

    @classmethod
    def open(cls, job: WorkerJob, path: Path, parameters: int) -> _Target:
        """Open out/model.gguf for writing, and the converted file for reading."""
        name_of = mixed_precision.names(toolchain_of(job), read_header(path))
        import gguf

        target = gguf.GGUFReader(path, "r+")
        source = gguf.GGUFReader(job.inputs["converted"] / ARTIFACT)
        return cls(
            {one.name: one for one in source.tensors},
            {one.name: one for one in target.tensors},
            name_of,
            target.data,
            is_thorough(parameters, 8 * path.stat().st_size / parameters),
            job.threads,
        )

    def flush(self) -> None:
        """Write the changes to the file."""
        self.data.flush()

    def refine_group(self, group: Group) -> None:
        """Refine the tensors of the layers that read the same input."""
        cross = group.cross_moments()
        kinds = {
            tensor.tensor_type.name for name in group.layers if (tensor := self._tensor(name)) is not None
        }
        # Weights that are looked up together must be neighbours in the order of rounding.
        factor = gptq.factor(group.second_moments(), unit=UNIT if kinds & TABLES.keys() else 1)
        moved = None if cross is None else gptq.shift(cross, factor, SHARE)
        for name, module in group.layers.items():
            self.refine(name, module, factor, moved)

    def refine(self, name: str, module: Any, factor: Factor, moved: Floats | None = None) -> None:
        """Refine the tensor of a layer, and give the layer (if there is one) the quantized weights."""
        tensor = self._tensor(name)
        width = len(factor.order)
        if tensor is None or len(tensor.shape) != 2 or tensor.shape[0] != width:
            self.unfed += module is not None
            return
        origin, rows = self.source[tensor.name], int(tensor.shape[1])
        self.refined += tensor.tensor_type.name in FORMS
        places = None if module is None else same_rows(module.weight.numpy(), origin)
        self.unfed += module is not None and places is None
        step = max(1, min(_CHUNK // width, -(-rows // self.threads)))

        def refine_part(at: int) -> None:
            part = slice(at, min(at + step, rows))
            values = self._refine_rows(tensor, origin, part, factor, moved)
            if places is not None:
                module.weight.numpy()[places[part]] = values

        each_in_a_thread(refine_part, range(0, rows, step), self.threads)

    def _tensor(self, name: str) -> Any:
        """Return the file's tensor of a layer by its name in the checkpoint, or None."""
        found = self.name_of(name)
        return self.tensors.get(f"{found}.weight") if found else None

    def _refine_rows(
        self, tensor: Any, origin: Any, part: slice, factor: Factor, moved: Floats | None
    ) -> Floats:
        """Replace the codes of some rows where that lowers the error; return the values of their weights."""
        import gguf
        import numpy as np

        kind = tensor.tensor_type.name
        raw = np.array(tensor.data[part])
        if kind in FORMS:
            weights = gguf.dequantize(np.asarray(origin.data[part]), origin.tensor_type)
            if moved is not None:
                weights = weights + product(weights, moved)
            better = better_codes(kind, raw.reshape(-1), weights, factor)
            if self.thorough:
                better = descent.descend(kind, better, weights, factor, SWEEPS)
            raw = better.reshape(raw.shape)
            tensor.data[part] = raw
        values: Floats = gguf.dequantize(raw, tensor.tensor_type)
        return values


def same_rows(weights: Floats, origin: Any) -> Any:
    """Return for each row of a converted tensor its place in the checkpoint's matrix, or None if they do not match.

    Converters reorder the rows of queries and keys (rotary positions in pairs or in halves), never the columns.
    """
    import gguf
    import numpy as np

    stored = np.asarray(origin.data)
    half = origin.tensor_type.name == "F16"
    converted = stored if half else gguf.dequantize(stored, origin.tensor_type)
    own = weights.astype(np.float16) if half else weights
    if own.shape != converted.shape:
        return None
    if np.array_equal(own, converted):
        return np.arange(len(own))
    found: dict[bytes, list[int]] = {}
    for at in range(len(own) - 1, -1, -1):
        found.setdefault(own[at].tobytes(), []).append(at)
    places = [known.pop() if (known := found.get(row.tobytes())) else -1 for row in converted]
    return None if -1 in places else np.array(places)


def better_codes(kind: str, raw: Any, weights: Floats, factor: Factor) -> Any:
    """Return the bytes of rows with GPTQ's codes, or a row's own codes if these have the lower error.

    The error is that of the layer's outputs on the calibration text.
    """
    import numpy as np

    if kind in TABLES:
        return lookup_gptq.better_values(kind, raw, weights, factor)
    rows = len(weights)
    places = grid(kind, raw, rows)
    scale, zero, left = (_ordered(one, factor) for one in (places.scale, places.zero, weights))
    present = codes(kind, raw, rows)
    own = gptq.losses(_ordered(present, factor) * scale - zero - left, factor.damped)

    def levels(start: int, end: int) -> Levels:
        return Levels(scale[start:end], zero[start:end], places.most)

    rounded, lost = gptq.round_columns(left, factor.upper, levels)
    new = np.empty_like(present)
    new[:, factor.order] = rounded.T
    return with_codes(kind, raw, np.where((lost < own)[:, None], new, present))


def _ordered(values: Any, factor: Factor) -> Any:
    """Return [rows, columns] as [columns, rows] with the columns in the factor's order."""
    import numpy as np

    return np.ascontiguousarray(values.T[factor.order])

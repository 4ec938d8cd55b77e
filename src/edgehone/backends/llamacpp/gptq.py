"""GPTQ inside llama.cpp's formats (worker side): other codes, the same scales, the same bytes.

llama-quantize rounds each weight by itself. GPTQ (Frantar et al., 2022) rounds a column at a time and moves its
error onto the columns that are still to come, weighted by how the inputs go together on the calibration text.
The scales are those that llama-quantize has chosen, so the file stays what any llama.cpp reads.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp import mix as llamacpp_mix
from edgehone.backends.llamacpp.build import ARTIFACT, facts, tools
from edgehone.backends.llamacpp.codes import LAYOUTS, Grid, codes, grid, with_codes
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.formats.gguf import read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

HESSIANS = "hessians.npz"
_WINDOW = 512
_TOKENS = 1 << 15
# A share of the mean of the diagonal, added to it: GPTQ's own default.
_DAMPING = 0.01
_COLUMNS = 128


def hessians(job: WorkerJob) -> dict[str, Any]:
    """The second moments of every linear layer's inputs on the calibration text → out/hessians.npz.

    `i`: float32 [inputs, inputs] for each different input; names.json: layer → i. args: head (its inputs too; where it
    is tied to the embeddings these are named). Facts: tokens, layers.
    """
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(job.threads)
    model = AutoModelForCausalLM.from_pretrained(
        job.inputs["model"],
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
    ).eval()
    ids = json.loads((job.inputs["calibration"] / "ids.json").read_text("utf-8"))[:_TOKENS]
    bos = json.loads((job.inputs["calibration"] / "bos.json").read_text("utf-8"))
    moments = _Moments(model)
    step = min(_WINDOW, getattr(model.config, "max_position_embeddings", _WINDOW)) - len(bos)
    with torch.inference_mode():
        for start in range(0, len(ids), step):
            job.progress(start / len(ids), "activations")
            # Without the head, whose logits nobody reads.
            made = model.base_model(torch.tensor([bos + ids[start : start + step]]), use_cache=False)
            if job.args.get("head"):
                moments.add(_head(model), made.last_hidden_state)
    np.savez(job.out / HESSIANS, **{str(i): sums.numpy() / len(ids) for i, sums in moments.sums.items()})
    (job.out / "names.json").write_text(json.dumps(moments.names), "utf-8")
    return {"tokens": len(ids), "layers": len(moments.names)}


def _head(model: Any) -> str:
    """The name of the head's matrix: of two that are tied, that of the embeddings."""
    weight = model.get_output_embeddings().weight
    return next(
        str(name) for name, module in model.named_modules() if getattr(module, "weight", None) is weight
    )


class _Moments:
    """Sums x xᵀ over all that goes into each linear layer; layers that are fed the same share one sum."""

    def __init__(self, model: Any) -> None:
        import torch

        self.names: dict[str, int] = {}
        self.sums: dict[int, Any] = {}
        self._last: tuple[Any, int] = (None, -1)
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings():
                module.register_forward_pre_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        def take(module: Any, given: tuple[Any, ...]) -> None:
            self.add(name, given[0])

        return take

    def add(self, name: str, given: Any) -> None:
        """Count what goes into a layer: [..., inputs]."""
        first = name not in self.names
        if given is self._last[0]:
            self.names.setdefault(name, self._last[1])
            return
        place = self.names.setdefault(name, len(self.sums))
        self._last = (given, place)
        inputs = given.reshape(-1, given.shape[-1])
        moments = inputs.T @ inputs
        self.sums[place] = moments if first else self.sums[place] + moments


def refine(job: WorkerJob) -> dict[str, Any]:
    """The quantized model.gguf with GPTQ's codes → out/model.gguf.

    inputs: quantized, converted (what it was made of), hessians. Layers whose type has no known layout, or
    that the checkpoint names otherwise than llama.cpp's own table, stay as they are. args: mix, as `quantize` was told,
    where it was. Facts: refined (tensors), tensor_types and bytes of the quantized file, and its mix.
    """
    import numpy as np

    out = job.out / ARTIFACT
    shutil.copyfile(job.inputs["quantized"] / ARTIFACT, out)
    name_of = llamacpp_mix.names(tools(job), read_header(out))
    import gguf

    source = {tensor.name: tensor for tensor in gguf.GGUFReader(job.inputs["converted"] / ARTIFACT).tensors}
    target = gguf.GGUFReader(out, "r+")
    layers = dict(_layers(job.inputs["hessians"], name_of))
    refined = 0
    with np.load(job.inputs["hessians"] / HESSIANS) as moments:
        for tensor in target.tensors:
            kind = tensor.tensor_type.name
            if kind not in LAYOUTS or tensor.name not in layers or len(tensor.shape) != 2:
                continue
            job.progress(refined / len(layers), "GPTQ")
            origin = source[tensor.name]
            weights = gguf.dequantize(origin.data, origin.tensor_type)
            moment = moments[str(layers[tensor.name])]
            if weights.shape[1] != len(moment):
                continue
            raw = np.array(tensor.data).reshape(-1)
            made = better(kind, raw, weights, moment.astype(np.float64))
            tensor.data[:] = made.reshape(tensor.data.shape)
            refined += 1
    target.data.flush()
    found = {"refined": refined, **facts(out)}
    if "mix" in job.args:
        mix = llamacpp_mix.assigned(job, job.inputs["converted"] / ARTIFACT)
        found |= llamacpp_mix.facts(mix, out)
    return found


def _layers(folder: Path, name_of: Callable[[str], str | None]) -> Iterator[tuple[str, int]]:
    """GGUF tensor name → which moments its inputs have."""
    for name, place in json.loads((folder / "names.json").read_text("utf-8")).items():
        if found := name_of(name):
            yield f"{found}.weight", place


def better(kind: str, raw: Any, weights: Any, moment: Doubles) -> Any:
    """The tensor's bytes with GPTQ's codes, or as they were where these are no better on the calibration text."""
    rows = len(weights)
    places = grid(kind, raw, rows)
    made = gptq(weights, places, moment)
    losses = [loss(weights, places, found, moment) for found in (codes(kind, raw, rows), made)]
    return with_codes(kind, raw, made) if losses[1] < losses[0] else raw


def loss(weights: Any, places: Grid, found: Any, moment: Doubles) -> float:
    """The squared error of the layer's outputs, summed over outputs, mean over the calibration's tokens."""
    error = weights - (found * places.scale - places.zero)
    return float(((error @ moment) * error).sum())


def gptq(weights: Any, places: Grid, moment: Doubles) -> Any:
    """The codes, uint8 [rows, columns], that GPTQ gives weights [rows, columns] on a grid that stays."""
    import numpy as np

    columns = weights.shape[1]
    moment = moment + np.eye(columns) * (_DAMPING * np.mean(np.diag(moment)) or 1.0)
    # The inputs that matter most first: what is left over goes onto those that matter least.
    order = np.argsort(-np.diag(moment))
    scale, zero = places.scale[:, order], places.zero[:, order]
    inverse = np.linalg.inv(moment[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left = weights[:, order].astype(np.float64)
    safe = np.where(scale == 0, 1, scale)
    made = np.zeros(left.shape, np.uint8)
    for start in range(0, columns, _COLUMNS):
        end = min(start + _COLUMNS, columns)
        errors = np.zeros((len(left), end - start))
        for j in range(start, end):
            made[:, j] = np.clip(np.rint((left[:, j] + zero[:, j]) / safe[:, j]), 0, places.most)
            kept = made[:, j] * scale[:, j] - zero[:, j]
            errors[:, j - start] = (left[:, j] - kept) / upper[j, j]
            left[:, j + 1 : end] -= np.outer(errors[:, j - start], upper[j, j + 1 : end])
        left[:, end:] -= errors @ upper[start:end, end:]
    back = np.empty_like(made)
    back[:, order] = made
    return back

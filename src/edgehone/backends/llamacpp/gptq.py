"""GPTQ within llama.cpp's formats (worker side): new codes, with the same scales and file size.

llama-quantize rounds each weight on its own. GPTQ (Frantar et al., 2022) rounds one column at a time and compensates
its error in the remaining columns, using the second moments of the layer's inputs on the calibration text. The scales
are those that llama-quantize chose, so any llama.cpp can read the file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp import mixed_precision
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
# Damping as a share of the diagonal's mean: the default of GPTQ.
_DAMPING = 0.01
_COLUMNS = 128


def hessians(job: WorkerJob) -> dict[str, Any]:
    """Write the second moments of every linear layer's inputs on the calibration text to out/hessians.npz.

    Its arrays `i` are float32 [inputs, inputs], one for each distinct input; names.json maps layers to i. args: head
    (include the head's inputs; a tied head has the name of the embeddings). Facts: tokens, layers.
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
            # Without the head, since its logits are not needed.
            output = model.base_model(torch.tensor([bos + ids[start : start + step]]), use_cache=False)
            if job.args.get("head"):
                moments.add(_head(model), output.last_hidden_state)
    np.savez(job.out / HESSIANS, **{str(i): sums.numpy() / len(ids) for i, sums in moments.sums.items()})
    (job.out / "names.json").write_text(json.dumps(moments.names), "utf-8")
    return {"tokens": len(ids), "layers": len(moments.names)}


def _head(model: Any) -> str:
    """Return the name of the module with the head's weights: the embeddings if they are tied."""
    weight = model.get_output_embeddings().weight
    return next(
        str(name) for name, module in model.named_modules() if getattr(module, "weight", None) is weight
    )


class _Moments:
    """Sums of x xᵀ over the inputs of each linear layer. Layers with the same input share one sum."""

    def __init__(self, model: Any) -> None:
        import torch

        self.names: dict[str, int] = {}
        self.sums: dict[int, Any] = {}
        self._last: tuple[Any, int] = (None, -1)
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings():
                module.register_forward_pre_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        def add_input(module: Any, inputs: tuple[Any, ...]) -> None:
            self.add(name, inputs[0])

        return add_input

    def add(self, name: str, activations: Any) -> None:
        """Add a layer's input: [..., inputs]."""
        first = name not in self.names
        if activations is self._last[0]:
            self.names.setdefault(name, self._last[1])
            return
        index = self.names.setdefault(name, len(self.sums))
        self._last = (activations, index)
        inputs = activations.reshape(-1, activations.shape[-1])
        moments = inputs.T @ inputs
        self.sums[index] = moments if first else self.sums[index] + moments


def refine(job: WorkerJob) -> dict[str, Any]:
    """Replace the codes of the quantized model.gguf by GPTQ's, and write out/model.gguf.

    inputs: quantized, converted (its source), hessians. Layers whose type has no known layout, or whose name is missing
    in llama.cpp's table, stay unchanged. args: mix, if `quantize` had one. Facts: refined (number of tensors),
    tensor_types and bytes of the file, and its mix.
    """
    import numpy as np

    out = job.out / ARTIFACT
    shutil.copyfile(job.inputs["quantized"] / ARTIFACT, out)
    name_of = mixed_precision.names(tools(job), read_header(out))
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
            better = better_codes(kind, raw, weights, moment.astype(np.float64))
            tensor.data[:] = better.reshape(tensor.data.shape)
            refined += 1
    target.data.flush()
    found = {"refined": refined, **facts(out)}
    if "mix" in job.args:
        mix = mixed_precision.assigned_types(job, job.inputs["converted"] / ARTIFACT)
        found |= mixed_precision.facts(mix, out)
    return found


def _layers(folder: Path, name_of: Callable[[str], str | None]) -> Iterator[tuple[str, int]]:
    """Yield each GGUF tensor name with the index of its inputs' moments."""
    for name, index in json.loads((folder / "names.json").read_text("utf-8")).items():
        if found := name_of(name):
            yield f"{found}.weight", index


def better_codes(kind: str, raw: Any, weights: Any, moment: Doubles) -> Any:
    """Return the tensor's bytes with GPTQ's codes, or unchanged if these have no lower loss on the calibration text."""
    rows = len(weights)
    levels = grid(kind, raw, rows)
    rounded = gptq(weights, levels, moment)
    losses = [loss(weights, levels, each, moment) for each in (codes(kind, raw, rows), rounded)]
    return with_codes(kind, raw, rounded) if losses[1] < losses[0] else raw


def loss(weights: Any, levels: Grid, codes: Any, moment: Doubles) -> float:
    """Return the squared error of the layer's outputs: the sum over outputs, the mean over the calibration tokens."""
    error = weights - (codes * levels.scale - levels.zero)
    return float(((error @ moment) * error).sum())


def gptq(weights: Any, levels: Grid, moment: Doubles) -> Any:
    """Return GPTQ's codes, uint8 [rows, columns], of weights [rows, columns] on a fixed grid of levels."""
    import numpy as np

    columns = weights.shape[1]
    moment = moment + np.eye(columns) * (_DAMPING * np.mean(np.diag(moment)) or 1.0)
    # The most important inputs first: their errors are compensated in the less important ones.
    order = np.argsort(-np.diag(moment))
    scale, zero = levels.scale[:, order], levels.zero[:, order]
    inverse = np.linalg.inv(moment[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left = weights[:, order].astype(np.float64)
    safe = np.where(scale == 0, 1, scale)
    rounded = np.zeros(left.shape, np.uint8)
    for start in range(0, columns, _COLUMNS):
        end = min(start + _COLUMNS, columns)
        errors = np.zeros((len(left), end - start))
        for j in range(start, end):
            rounded[:, j] = np.clip(np.rint((left[:, j] + zero[:, j]) / safe[:, j]), 0, levels.most)
            value = rounded[:, j] * scale[:, j] - zero[:, j]
            errors[:, j - start] = (left[:, j] - value) / upper[j, j]
            left[:, j + 1 : end] -= np.outer(errors[:, j - start], upper[j, j + 1 : end])
        left[:, end:] -= errors @ upper[start:end, end:]
    codes = np.empty_like(rounded)
    codes[:, order] = rounded
    return codes

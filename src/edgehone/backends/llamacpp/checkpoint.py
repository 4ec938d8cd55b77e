"""Write the checkpoint of a GGUF file, for what runs a model block by block with transformers (worker side).

The weights are the file's own, dequantized to float32: the product of a float16 scale and a code of 4 to 8 bits has
more digits than 16-bit floats hold. Rows of queries and keys get transformers' order, and norms their own zero.
Matrices are written part by part, so the memory does not depend on the model.

What a file states is translated by checkpoints.toml. Keys and tensors that have no place there are refused by name, and
the checkpoint must compute what libllama computes from the file (`checkpoint_parity`), so nothing is lost in silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp import checkpoint_parity, mixed_precision
from edgehone.backends.llamacpp.checkpoint_config import HINT, Architecture, architectures, configuration
from edgehone.backends.llamacpp.tools import ARTIFACT, toolchain_of
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import ModelError
from edgehone.formats.gguf import read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Weights that are dequantized at a time; each takes about 12 bytes meanwhile.
_PART = 1 << 22


def write(job: WorkerJob) -> dict[str, Any]:
    """Write config.json and model.safetensors of inputs["converted"], and compare them with libllama.

    inputs: converted (a folder with model.gguf), calibration. Facts: bytes, and those of `checkpoint_parity.prove`.
    Raises ModelError for a file that has no checkpoint, or whose checkpoint computes something else.
    """
    path = job.inputs["converted"] / ARTIFACT
    header = read_header(path)
    name_of = mixed_precision.names(toolchain_of(job), header)
    import gguf

    stored = {one.name: one for one in gguf.GGUFReader(path).tensors}
    divisors = stored.pop("rope_freqs.weight", None)
    config = configuration(header, None if divisors is None else divisors.data.tolist())
    (job.out / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    job.progress(0.0, "dequantizing")
    known = architectures()[header.values["general.architecture"]]
    tensors = _Tensors(_paired(stored, config, name_of), known, config)
    written = job.out / "model.safetensors"
    _write(written, tensors)
    job.progress(0.5, "comparing with llama.cpp")
    return {"bytes": written.stat().st_size, **checkpoint_parity.prove(job, path)}


@dataclass(frozen=True)
class _Tensors:
    """The tensors of a checkpoint by their names there, each with the file's tensor that it is made from."""

    named: Mapping[str, Any]
    known: Architecture
    config: Mapping[str, Any]

    def parts(self, name: str) -> Iterator[NDArray[np.float32]]:
        """Yield the float32 values of a tensor, some rows at a time. Raises ModelError for an unknown type."""
        import gguf
        import numpy as np

        tensor = self.named[name]
        data = np.asarray(tensor.data)
        order = self._order(tensor.name, len(data))
        width = int(tensor.shape[0])
        step = len(data) if data.ndim == 1 else max(1, _PART // width)
        for at in range(0, len(data), step):
            rows = data[at : at + step] if order is None else data[order[at : at + step]]
            try:
                values = gguf.dequantize(rows, tensor.tensor_type).astype(np.float32, copy=False)
            except NotImplementedError as error:
                raise ModelError(
                    f"gguf-py cannot read {tensor.name}, which is in {tensor.tensor_type.name}", hint=HINT
                ) from error
            yield values - np.float32(self.known.norms) if "norm" in tensor.name else values

    def _order(self, name: str, rows: int) -> NDArray[np.int64] | None:
        """Return the rows of queries or keys in transformers' order; None if they have it."""
        import numpy as np

        kind = name.split(".")[-2]
        if not self.known.paired or kind not in ("attn_q", "attn_k"):
            return None
        heads = self.config["num_attention_heads" if kind == "attn_q" else "num_key_value_heads"]
        order: NDArray[np.int64] = np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
        return order


def _paired(
    stored: dict[str, Any], config: Mapping[str, Any], name_of: Callable[[str], str | None]
) -> dict[str, Any]:
    """Return the file's tensors by their names in a checkpoint.

    `name_of` is llama.cpp's own table. Raises ModelError for tensors without a counterpart on either side.
    """
    named = {}
    for name, shape in _shapes(config).items():
        module, _, part = name.rpartition(".")
        tensor = stored.pop(f"{name_of(module)}.{part}", None)
        if tensor is None:
            raise ModelError(f"the file has no tensor for {name}", hint=HINT)
        has = tensor.shape.tolist()[::-1]
        if tuple(has) != shape:
            raise ModelError(f"{tensor.name} has the shape {has}, and {name} {list(shape)}", hint=HINT)
        named[name] = tensor
    if stored:
        raise ModelError(f"the file's tensor {min(stored)} has no place in a checkpoint", hint=HINT)
    return named


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a checkpoint's tensors by name; a head that is the embeddings has none."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **values))
    return {name: tuple(one.shape) for name, one in model.named_parameters()}


def _write(path: Path, tensors: _Tensors) -> None:
    """Write a safetensors file in float32."""
    header, end = dict[str, Any](), 0
    for name, tensor in tensors.named.items():
        size = 4 * int(tensor.n_elements)
        shape = tensor.shape.tolist()[::-1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in tensors.named:
            for part in tensors.parts(name):
                file.write(part.tobytes())

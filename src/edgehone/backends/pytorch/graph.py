"""Run the original of a graph with PyTorch: an encoder of transformers, or an exported program (.pt2).

Worker side, except for `refusals`. Weights are loaded from safetensors, or from the archive of `torch.export.save`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch.encoder_decoder import open_session
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared import graph_ports, torch_export
from edgehone.backends.shared.encoder_decoder import EncoderDecoderSession
from edgehone.core.errors import InputError, ModelError
from edgehone.model import encoder_decoder
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

TASKS = ("feature-extraction", "text-classification", *encoder_decoder.TASKS)
# Texts are truncated to this many tokens, the usual training length of encoders, or to the model's own lower limit.
_MAX_TOKENS = 512


def refusals(model: ModelInfo) -> list[str]:
    """Return why PyTorch cannot run this graph; empty if it can."""
    if model.format == "torch-export":
        if not model.remote_code:
            return graph_ports.refusals(replace(model, outputs=()))  # outputs are returned in float32
        return ["the program contains pickles or code that loading it would run: it is not loaded"]
    if model.format != "huggingface":
        return [f"PyTorch runs Hugging Face folders and exported programs, not the format '{model.format}'"]
    reasons = []
    if model.task not in TASKS:
        reasons.append(
            f"of Hugging Face's graphs only {' and '.join(TASKS)} are supported, not '{model.task}'"
        )
    if model.remote_code:
        reasons.append("the model needs remote code, and edgehone runs no code that comes with a model")
    if model.quantized:
        reasons.append(
            f"the checkpoint is already quantized ({model.quantized}): give the unquantized original"
        )
    return reasons


def encode_texts(folder: Path, texts: Sequence[str | list[str]]) -> Arrays:
    """Return the model's input arrays, int64 [texts, tokens], for texts or pairs of texts, padded to the longest."""
    import json

    import numpy as np

    from edgehone.backends.pytorch.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    positions = int(config.get("max_position_embeddings") or config.get("n_positions") or _MAX_TOKENS)
    # RoBERTa models reserve the first positions for padding.
    offset = int(config.get("pad_token_id") or 0) + 1 if "roberta" in str(config.get("model_type")) else 0
    longest = min(_MAX_TOKENS, positions - offset, int(tokenizer.model_max_length))
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer of {folder} has no padding token, so texts cannot be batched")
    pairs = [text if isinstance(text, list) else [text, None] for text in texts]
    arguments = [[pair[0] for pair in pairs]]
    arguments += [[pair[1] for pair in pairs]] if isinstance(texts[0], list) else []
    encoded = tokenizer(*arguments, padding=True, truncation=True, max_length=longest, return_tensors="np")
    return {name: np.asarray(array, np.int64) for name, array in encoded.items()}


def open_graph(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob
) -> TorchGraph | EncoderDecoderSession:
    """Load the folder of an encoder or of an encoder-decoder, or the exported program in it.

    Raises ModelError if it cannot be loaded.
    """
    import json

    import torch

    torch.set_num_threads(job.threads)
    dtype = str(settings.get("dtype", "stored"))
    if programs := sorted(artifact.glob("*.pt2")):
        return TorchGraph(*_program(programs[0]))
    config = json.loads((artifact / "config.json").read_text("utf-8"))
    if (task := encoder_decoder.task_of(config)) is not None:
        return open_session(artifact, task, dtype)
    return TorchGraph(*_encoder(artifact, dtype))


class TorchGraph:
    """A graph's module, with the names of its inputs and outputs. Without input names, inputs are keyword arguments."""

    def __init__(self, module: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._module, self._inputs, self._outputs = module, inputs, outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return all outputs by name; floating-point ones as float32."""
        import torch

        if self._inputs and set(feeds) != set(self._inputs):
            raise InputError(f"expected the inputs {', '.join(self._inputs)}, got {', '.join(feeds)}")
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        with torch.inference_mode():
            ordered = [tensors.pop(name) for name in self._inputs]
            return self._named(self._module(*ordered, **tensors))

    def _named(self, outputs: Any) -> Arrays:
        if isinstance(outputs, Mapping):
            return {name: _array(outputs[name]) for name in self._outputs if outputs.get(name) is not None}
        values = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        return {name: _array(value) for name, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Free the weights."""
        del self._module


def _encoder(folder: Path, dtype: str) -> tuple[Any, Sequence[str], Sequence[str]]:
    import json

    import transformers

    from edgehone.backends.pytorch.weights import load_weights

    named = json.loads((folder / "config.json").read_text("utf-8")).get("architectures") or [""]
    classifies = str(named[0]).endswith("ForSequenceClassification")
    auto = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModel
    return load_weights(auto, folder, dtype), (), ("logits",) if classifies else ("last_hidden_state",)


def _program(path: Path) -> tuple[Any, Sequence[str], Sequence[str]]:
    program = torch_export.load(path)
    signature = program.graph_signature
    return program.module(), list(signature.user_inputs), [str(name) for name in signature.user_outputs]


def _array(tensor: Any) -> NDArray[Any]:
    import numpy as np

    array: NDArray[Any] = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    return np.ascontiguousarray(array)

"""The original of a graph that PyTorch runs: an encoder of transformers, or an exported program (.pt2).

Worker side, but for `why_not`. Weights come from safetensors, or from the archive of `torch.export.save`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared import torch_export
from edgehone.core.errors import InputError, ModelError
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

TASKS = ("feature-extraction", "text-classification")
# Texts longer than this are cut, as encoders are trained on less; a model's own limit comes first.
_LONGEST = 512


def why_not(model: ModelInfo) -> list[str]:
    """Why PyTorch cannot run this graph; empty where it can."""
    if model.format == "torch-export":
        told = "the program holds pickles or code that opening it would run: it is not opened"
        return [told] if model.remote_code else []
    if model.format != "huggingface":
        return [f"PyTorch runs Hugging Face folders and exported programs, not the format '{model.format}'"]
    reasons = []
    if model.task not in TASKS:
        reasons.append(f"of Hugging Face's graphs only {' and '.join(TASKS)} are run, not '{model.task}'")
    if model.remote_code:
        reasons.append(
            "the model runs only with code of its own, and edgehone runs no code that comes with a model"
        )
    if model.quantized:
        reasons.append(
            f"the checkpoint is quantized already ({model.quantized}): give the unquantized original"
        )
    return reasons


def encode_texts(folder: Path, texts: Sequence[str | list[str]]) -> Arrays:
    """The model's own tokenizer on all texts or pairs: int64 [texts, tokens], padded to the longest."""
    import json

    import numpy as np

    from edgehone.backends.pytorch.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    positions = int(config.get("max_position_embeddings") or _LONGEST)
    # RoBERTa and its kind keep the first positions for padding.
    offset = int(config.get("pad_token_id") or 0) + 1 if "roberta" in str(config.get("model_type")) else 0
    longest = min(_LONGEST, positions - offset, int(tokenizer.model_max_length))
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer of {folder} has no padding token, so texts cannot be batched")
    pairs = [text if isinstance(text, list) else [text, None] for text in texts]
    given = [[pair[0] for pair in pairs]]
    given += [[pair[1] for pair in pairs]] if isinstance(texts[0], list) else []
    made = tokenizer(*given, padding=True, truncation=True, max_length=longest, return_tensors="np")
    return {name: np.asarray(array, np.int64) for name, array in made.items()}


def open_graph(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> TorchGraph:
    """Open an encoder's folder, or the exported program in it. ModelError when it cannot be loaded."""
    import torch

    torch.set_num_threads(job.threads)
    dtype = str(settings.get("dtype", "stored"))
    programs = sorted(artifact.glob("*.pt2"))
    return TorchGraph(*(_program(programs[0]) if programs else _encoder(artifact, dtype)))


class TorchGraph:
    """A module called by the names of its inputs; outputs by the names that it gives, or those in order."""

    def __init__(self, module: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._module, self._inputs, self._outputs = module, inputs, outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Outputs as float32, by name."""
        import torch

        if self._inputs and set(feeds) != set(self._inputs):
            raise InputError(f"the inputs are {', '.join(self._inputs)}; given were {', '.join(feeds)}")
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        with torch.inference_mode():
            ordered = [tensors.pop(name) for name in self._inputs]
            return self._named(self._module(*ordered, **tensors))

    def _named(self, made: Any) -> Arrays:
        if isinstance(made, Mapping):
            return {name: _array(made[name]) for name in self._outputs if made.get(name) is not None}
        values = made if isinstance(made, (tuple, list)) else (made,)
        return {name: _array(value) for name, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Drop the weights."""
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

    found: NDArray[Any] = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    return np.ascontiguousarray(found)

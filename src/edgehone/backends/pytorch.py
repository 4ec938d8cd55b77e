"""pytorch: the original itself, run by transformers: the reference for quality, the baseline for speed.

Nothing is built: an artifact is a folder of links to the model's own files. Weights come from safetensors
only, and no code that lies beside them is ever run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends import pytorch_devices, pytorch_graph, pytorch_vision
from edgehone.backends.base import Generation, Needs, Recipe, Step, Support, WorkerJob
from edgehone.backends.ids import padded
from edgehone.backends.pytorch_tokenizer import Tokenizer, load_tokenizer
from edgehone.backends.pytorch_weights import load_weights
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.base import Logits
    from edgehone.backends.pytorch_routing import TorchRouting
    from edgehone.backends.pytorch_vision import TorchPictures, TorchVision

devices = pytorch_devices.devices

NAME = "pytorch"
REFERENCE = True
NEEDS = Needs(
    lock=Path(__file__).parent.parent / "jobs" / "locks" / "pytorch.txt",
    versions=("torch", "transformers", "tokenizers", "safetensors"),
)

SENSITIVITY = Step("edgehone.backends.pytorch_sensitivity:measure", reads=("model", "calibration"))

encode_texts = pytorch_graph.encode_texts
open_graph = pytorch_graph.open_graph

# Float32 logits of one forward pass are held whole up to this size, and made in parts beyond it.
WHOLE_LOGITS_BYTES = 128 << 20
# Pickled weights run code when they are loaded, Python files when a model asks for them: left out, both.
_LEFT_OUT = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".gguf", ".py", ".pyc"}


@cache
def architectures() -> frozenset[str]:
    """The model types that the pinned transformers runs as causal language models."""
    lines = (Path(__file__).parent / "pytorch_architectures.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def supports(model: ModelInfo) -> Support:
    """Hugging Face causal language models and encoders, unquantized, without code of their own; exported programs."""
    if model.kind == "graph":
        refusals = pytorch_graph.why_not(model)
        return Support(not refusals, tuple(refusals))
    reasons = []
    if model.format != "huggingface":
        reasons.append(f"only Hugging Face folders can be run, not the format '{model.format}'")
    if model.remote_code:
        reasons.append(
            "the model runs only with code of its own (auto_map in config.json, trust_remote_code=True in "
            "transformers), and edgehone runs no code that comes with a model"
        )
    elif model.kind != "language":
        reasons.append(f"only language models can be scored, not '{model.task}'")
    elif model.task == "image-text-to-text":
        if model.model_type not in pytorch_vision.model_types():
            reasons.append(f"transformers does not know '{model.model_type}' as a model that sees images")
    elif model.model_type not in architectures():
        reasons.append(f"transformers does not know '{model.model_type}' as a causal language model")
    if model.quantized:
        reasons.append(
            f"the checkpoint is quantized already ({model.quantized}): give the unquantized original"
        )
    return Support(not reasons, tuple(reasons))


def recipes(model: ModelInfo) -> list[Recipe]:
    """The original and nothing else: it is what candidates are compared with."""
    return [original(model)]


def original(model: ModelInfo) -> Recipe:
    """The original in its stored dtype, as its users run it today."""
    return Recipe(
        NAME, "original", settings={"dtype": "stored"}, effort="quick", exact=True, why="the model as it is"
    )


def reference(model: ModelInfo) -> Recipe:
    """The original in float32."""
    return Recipe(
        NAME,
        "reference",
        settings={"dtype": "float32"},
        effort="quick",
        exact=True,
        why="what quality is judged by",
    )


def steps(recipe: Recipe) -> Step:
    """Links to the model's files; the same for every recipe."""
    return Step("edgehone.backends.pytorch:adopt", reads=("model",), links=True)


def adopt(job: WorkerJob) -> dict[str, Any]:
    """Fill the folder with links to the model's files, less those that could run code."""
    source = job.inputs["model"].resolve()
    for path in sorted(source.iterdir()) if source.is_dir() else [source]:
        if path.is_file() and not path.name.startswith(".") and path.suffix not in _LEFT_OUT:
            (job.out / path.name).symlink_to(path)
    return {}


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> TorchSession:
    """Load the model in `settings["dtype"]`: "stored" (the default) or a name that torch knows, as "float32".

    Raises ModelError, with the cause, for weights or a tokenizer that cannot be loaded.
    """
    import torch

    torch.set_num_threads(job.threads)
    return TorchSession(artifact, str(settings.get("dtype", "stored")))


def open_routing(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> TorchRouting:
    """The same, telling which experts the routers choose."""
    import torch

    from edgehone.backends.pytorch_routing import TorchRouting

    torch.set_num_threads(job.threads)
    return TorchRouting(TorchSession(artifact, str(settings.get("dtype", "stored"))).model)


def open_vision(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> TorchVision:
    """The same, shown pictures."""
    import torch

    torch.set_num_threads(job.threads)
    return pytorch_vision.TorchVision(artifact, TorchSession(artifact, str(settings.get("dtype", "stored"))))


def open_pictures(folder: Path, job: WorkerJob) -> TorchPictures:
    """The processor of a model's folder (worker side). ModelError when there is none that works."""
    return pytorch_vision.TorchPictures(folder)


class TorchSession:
    """A causal language model of transformers on the CPU."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.model = _load_model(folder, dtype)
        self.vocabulary = int(self.model.get_output_embeddings().weight.shape[0])

    def tokenize(self, text: str) -> list[int]:
        """Ids with whatever the tokenizer puts in front by itself."""
        return [int(i) for i in self.tokenizer(text, verbose=False).input_ids]

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Logits of one forward pass over all ids; in parts where whole they would be too big."""
        import torch

        fitting = max(1, WHOLE_LOGITS_BYTES // (4 * self.vocabulary))
        inputs = torch.tensor([list(ids)])
        with torch.inference_mode():
            if len(ids) <= fitting or not _takes_logits_to_keep(self.model):
                yield _array(self.model(inputs, use_cache=False).logits)
                return
            yield from self._score_in_parts(inputs, fitting)

    def _score_in_parts(self, inputs: Any, rows: int) -> Iterator[Logits]:
        """The layers run once, the model's own head (scaling and capping included) on so many rows at a time."""
        import torch

        body = self.model.base_model
        hidden = body(inputs, use_cache=False)
        layers, body.forward = body.forward, lambda *_, **__: hidden
        try:
            for begin in range(0, inputs.shape[1], rows):
                keep = torch.arange(begin, min(begin + rows, inputs.shape[1]))
                yield _array(self.model(inputs, use_cache=False, logits_to_keep=keep).logits)
        finally:
            body.forward = layers

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """transformers' own greedy generate()."""
        import torch

        inputs = torch.tensor([list(ids)])
        fed = {"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}
        return self.generate_from(fed, count, on_token)

    def generate_from(
        self, fed: Mapping[str, Any], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """The same from all that the model's forward pass is fed."""
        import torch

        clock = _Clock(on_token)
        more = {"stopping_criteria": [clock.stop]} if on_token else {}
        started = time.perf_counter()
        with torch.inference_mode():
            self.model.generate(
                **fed,
                max_new_tokens=count,
                do_sample=False,
                streamer=clock,
                **more,
            )
        return Generation(started, clock.ids, clock.times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """transformers' generate() of a batch, shorter prompts padded on the left."""
        import torch

        ids, mask = (torch.from_numpy(array) for array in padded(prompts))
        times: list[float] = []

        def note(made: Any, scores: Any, **_: Any) -> Any:
            times.append(time.perf_counter())
            return torch.zeros(len(prompts), dtype=torch.bool)

        fed = {"input_ids": ids, "attention_mask": mask}
        started = time.perf_counter()
        with torch.inference_mode():
            made = self.model.generate(**fed, max_new_tokens=count, do_sample=False, stopping_criteria=[note])
        rows = made[:, ids.shape[1] :].tolist()
        return [Generation(started, row, times) for row in rows]

    def close(self) -> None:
        """Drop the weights."""
        del self.model


class _Clock:
    """A streamer of transformers that notes each token and its moment."""

    def __init__(self, on_token: Callable[[int], bool] | None) -> None:
        self.on_token = on_token
        self.ids: list[int] = []
        self.times: list[float] = []
        self.prompt_seen = False
        self.stopped = False

    def put(self, value: Any) -> None:
        """Called with the prompt first, then with each token."""
        if not self.prompt_seen:
            self.prompt_seen = True
            return
        token = int(value)
        self.times.append(time.perf_counter())
        self.ids.append(token)
        if self.on_token is not None:
            self.stopped = self.on_token(token) or self.stopped

    def end(self) -> None:
        """Called after the last token."""

    def stop(self, ids: Any, scores: Any, **_: Any) -> Any:
        """A stopping criterion: transformers asks it before it streams the token, so it stops one later."""
        import torch

        return torch.full((ids.shape[0],), self.stopped)


def open_tokenizer(folder: Path, job: WorkerJob) -> Tokenizer:
    """The tokenizer of a model's folder (worker side). ModelError when there is none that works."""
    return Tokenizer(folder)


def _load_model(folder: Path, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, GenerationConfig

    config = json.loads((folder / "config.json").read_text("utf-8"))
    seeing = "vision_config" in config and config.get("model_type") in pytorch_vision.model_types()
    model = load_weights(AutoModelForImageTextToText if seeing else AutoModelForCausalLM, folder, dtype)
    # The model's own sampling defaults and end-of-text would disturb a greedy generation of fixed length.
    model.generation_config = GenerationConfig(pad_token_id=0)
    return model


def _takes_logits_to_keep(model: Any) -> bool:
    import inspect

    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _array(logits: Any) -> Logits:
    import numpy as np

    return np.asarray(logits[0].float().numpy(), np.float32)

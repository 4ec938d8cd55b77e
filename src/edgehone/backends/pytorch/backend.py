"""pytorch: run the original with transformers, as the reference for quality and the baseline for speed.

Nothing is built: an artifact is a folder of links to the model's files. Weights are loaded from safetensors only, and
no code from the model's folder is run.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.backends.base import (
    Needs,
    Recipe,
    Step,
    Support,
)
from edgehone.backends.pytorch import devices as pytorch_devices
from edgehone.backends.pytorch import graph, vision
from edgehone.backends.pytorch.session import TorchSession
from edgehone.backends.pytorch.streamed import NotStreamable
from edgehone.backends.pytorch.streamed_session import StreamedSession
from edgehone.backends.pytorch.supported import NEEDS_TORCHVISION, architectures, vision_model_types
from edgehone.backends.pytorch.tokenizer import Tokenizer
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.pytorch.routing import TorchRouting
    from edgehone.backends.pytorch.vision import TorchPictureProcessor, TorchVision

devices = pytorch_devices.devices

NAME = "pytorch"
REFERENCE = True
NEEDS = Needs(
    lock=Path(__file__).with_name("lock.txt"),
    versions=("torch", "transformers", "tokenizers", "safetensors"),
)

SENSITIVITY = Step("edgehone.backends.pytorch.sensitivity:measure", reads=("model", "calibration"))

encode_texts = graph.encode_texts
open_graph = graph.open_graph

# Not linked: pickled weights, which run code on loading, Python files, and weights in other formats.
_EXCLUDED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".gguf", ".py", ".pyc"}


def supports(model: ModelInfo) -> Support:
    """Support unquantized Hugging Face language models and encoders without remote code, and exported programs."""
    if model.kind == "graph":
        refusals = graph.refusals(model)
        return Support(not refusals, tuple(refusals))
    reasons = []
    if model.format != "huggingface":
        reasons.append(f"only Hugging Face folders are supported, not the format '{model.format}'")
    if model.remote_code:
        reasons.append(
            "the model needs remote code (auto_map in config.json, trust_remote_code=True in transformers), "
            "and edgehone runs no code that comes with a model"
        )
    elif model.kind != "language":
        reasons.append(f"only language models are supported, not '{model.task}'")
    elif model.task == "image-text-to-text":
        if model.model_type in NEEDS_TORCHVISION:
            reasons.append(
                f"transformers' picture processor of '{model.model_type}' needs torchvision, which the pinned "
                "environment does not have"
            )
        elif model.model_type not in vision_model_types():
            reasons.append(f"transformers does not know '{model.model_type}' as a vision-language model")
    elif model.task == "unknown" and model.model_type in vision_model_types():
        reasons.append(
            f"'{model.model_type}' is a vision-language model, and its folder has no image processor: copy "
            "preprocessor_config.json into it"
        )
    elif model.model_type not in architectures():
        reasons.append(f"transformers does not know '{model.model_type}' as a causal language model")
    if model.quantized:
        reasons.append(
            f"the checkpoint is already quantized ({model.quantized}): give the unquantized original"
        )
    return Support(not reasons, tuple(reasons))


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return the original only, with which candidates are compared."""
    return [original(model)]


def original(model: ModelInfo) -> Recipe:
    """Return the recipe of the original in its stored dtype."""
    return Recipe(
        NAME, "original", settings={"dtype": "stored"}, effort="quick", exact=True, why="the unchanged model"
    )


def reference(model: ModelInfo) -> Recipe:
    """Return the recipe of the original in float32."""
    return Recipe(
        NAME,
        "reference",
        settings={"dtype": "float32", "streamed": True},
        effort="quick",
        exact=True,
        why="the reference for quality",
    )


def steps(recipe: Recipe) -> Step:
    """Return the step that links the model's files; it is the same for every recipe."""
    return Step("edgehone.backends.pytorch.backend:link_original", reads=("model",), links=True)


def link_original(job: WorkerJob) -> dict[str, Any]:
    """Fill the folder with links to the model's files, except those that could run code."""
    source = job.inputs["model"].resolve()
    for path in sorted(source.iterdir()) if source.is_dir() else [source]:
        if path.is_file() and not path.name.startswith(".") and path.suffix not in _EXCLUDED:
            (job.out / path.name).symlink_to(path)
    return {}


def open_session(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob
) -> TorchSession | StreamedSession:
    """Load the model in `settings["dtype"]`: "stored" (the default) or a torch dtype such as "float32".

    With `streamed` it is read block by block and only scores, in float32; a model whose blocks cannot be run one after
    another is loaded whole. Raises ModelError, with the cause, for weights or a tokenizer that cannot be loaded.
    """
    import torch

    torch.set_num_threads(job.threads)
    if settings.get("streamed"):
        try:
            return StreamedSession(artifact, job.out / ".activations")
        except NotStreamable as reason:
            job.progress(0.0, f"loading the whole model: {reason}")
    return TorchSession(artifact, str(settings.get("dtype", "stored")))


def start_runtime(kind: Literal["language", "graph"], job: WorkerJob) -> None:
    """Load torch, and for checkpoints transformers, and run one operator (worker side)."""
    import torch

    torch.set_num_threads(job.threads)
    torch.ones(64, 64) @ torch.ones(64, 64)
    if (job.inputs["artifact"] / "config.json").exists():
        importlib.import_module("transformers.modeling_utils")
        importlib.import_module("transformers.models.auto.modeling_auto")


def open_routing(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> TorchRouting:
    """Load a mixture-of-experts model in a session that reports the experts its routers choose (worker side)."""
    import torch

    from edgehone.backends.pytorch.routing import TorchRouting

    torch.set_num_threads(job.threads)
    return TorchRouting(TorchSession(artifact, str(settings.get("dtype", "stored"))).model)


def open_vision(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> TorchVision:
    """Load a vision-language model (worker side)."""
    import torch

    torch.set_num_threads(job.threads)
    return vision.TorchVision(artifact, TorchSession(artifact, str(settings.get("dtype", "stored"))))


def open_picture_processor(folder: Path, job: WorkerJob) -> TorchPictureProcessor:
    """Open the picture processor in a model's folder (worker side). Raises ModelError if it cannot be loaded."""
    return vision.TorchPictureProcessor(folder)


def open_tokenizer(folder: Path, job: WorkerJob) -> Tokenizer:
    """Open the tokenizer in a model's folder (worker side). Raises ModelError if it cannot be loaded."""
    return Tokenizer(folder)

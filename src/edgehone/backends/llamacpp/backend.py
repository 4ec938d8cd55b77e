"""llamacpp: GGUF files made by llama.cpp's own converter and quantizer, run by libllama.

The build steps run llama.cpp's tools unchanged: convert_hf_to_gguf.py writes the exact GGUF, llama-imatrix computes an
importance matrix from the calibration text, llama-quantize writes the quantized files. The recipes and the supported
architectures are data: recipes.toml and architectures.txt. `toolchain` compiles the tools, `tools` finds them, `build`
runs them, `session` and `encoder` run the artifacts.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.backends.base import (
    Needs,
    Recipe,
    Step,
    Support,
    TunableSetting,
)
from edgehone.backends.llamacpp import devices as llamacpp_devices
from edgehone.backends.llamacpp import offload, vision_families
from edgehone.backends.llamacpp import recipes as llamacpp_recipes
from edgehone.backends.llamacpp.tools import ARTIFACT, PROJECTOR, toolchain_of
from edgehone.backends.sessions import OperatorTime, WorkerJob
from edgehone.backends.shared.tunable_settings import PREFIX_CACHE
from edgehone.device.facts import Device
from edgehone.model.encoder_decoder import SPEECH, TASKS, TEXT
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.llamacpp.encoder import EncoderSession
    from edgehone.backends.llamacpp.engine import LlamaEngine
    from edgehone.backends.llamacpp.routing import RoutingSession
    from edgehone.backends.llamacpp.session import LlamaSession
    from edgehone.backends.llamacpp.vision import LlamaVision
    from edgehone.backends.llamacpp.vocabulary import Vocabulary

devices = llamacpp_devices.devices
device_recipes = offload.device_recipes

NAME = "llamacpp"
ARTIFACT_FILE = ARTIFACT
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).with_name("lock.txt"),
    toolchain="edgehone.backends.llamacpp.toolchain:setup",
    versions=("torch", "transformers"),
    runtime={
        "language": ("jinja2", "markupsafe", "numpy", "tokenizers"),
        "pictures": ("jinja2", "markupsafe", "numpy", "pillow", "tokenizers"),
        "graph": ("numpy", "tokenizers"),
    },
    engine={"language": ("edgehone.backends.llamacpp.engine", "tokenizers"), "graph": ("numpy",)},
)

# Encoders whose hidden states of every token libllama returns. Bert, roberta, distilbert and modernbert agreed with
# transformers when tested; the others have roberta's architecture and rely on the parity check.
ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "modernbert")

# Vision-language models that agreed with transformers when tested: `vision_build` splits a LLaVA, llama.cpp's own
# converter the others.
VISION_MODEL_TYPES = ("llava", *vision_families.CONVERTED)

# tools/mtmd/models/llava.cpp appends the class token after the patches, but clip.cpp numbers positions and selects rows
# as if it came before them.
_CLIP = (
    "llama.cpp 0.5.0 computes wrong features in CLIP encoders (it appends the class token after the patches, but reads "
    "it before them); the parity check detects this. SigLIP encoders are correct"
)

# Converted as a Llama, which has no sliding window (conversion/llama.py). A tiny model diverged by 0.16 nats per token.
_NO_WINDOW = ("MistralForCausalLM", "MixtralForCausalLM")

_BUILD = "edgehone.backends.llamacpp.build"
_VISION = "edgehone.backends.llamacpp.vision_build"
_GPTQ = "edgehone.backends.llamacpp.gptq"
_ADAPTER = "edgehone.backends.llamacpp.adapter_build"
_NO_DECODER = {
    SPEECH: "llama.cpp has no Whisper: whisper.cpp, another project with a file format of its own, runs it",
    TEXT: "llama.cpp's server and its batches run decoders only: no program of it generates with an encoder-decoder",
}
LINK_ORIGINAL = Step(f"{_BUILD}:link_original", reads=("model",), links=True)
# The checkpoint of a GGUF file.
CHECKPOINT = Step(
    "edgehone.backends.llamacpp.checkpoint:write", inputs={"converted": LINK_ORIGINAL}, reads=("calibration",)
)


def supports(model: ModelInfo) -> Support:
    """Return whether llama.cpp supports the model. What only the conversion can find out is a note."""
    if refusals := _refusals(model):
        return Support(False, tuple(refusals))
    if model.task == "image-text-to-text":
        return Support(True, (*_checkpoint_notes(model), *([_CLIP] if model.model_type == "llava" else [])))
    if model.format == "gguf":
        notes = _gguf_notes(model)
    elif model.kind == "graph":
        notes = ["its hidden states are compared; libllama accepts no token types other than 0"]
    else:
        notes = _checkpoint_notes(model)
    return Support(True, tuple(notes))


def _refusals(model: ModelInfo) -> list[str]:
    if model.format == "gguf":
        return gguf_refusals(model)
    reasons = []
    if model.format != "huggingface":
        reasons.append(f"the converter reads Hugging Face folders, not '{model.format}'")
    if model.task == "image-text-to-text":
        reasons += _vision_refusals(model)
    elif model.architecture not in architectures():
        reasons.append(f"llama.cpp's converter has no architecture '{model.architecture}'")
    reasons += _task_refusals(model)
    if model.remote_code:
        reasons.append("the model needs its own code (remote code), which is not run")
    if model.quantized:
        reasons.append(f"already quantized ({model.quantized}): give the unquantized original")
    return reasons


def _vision_refusals(model: ModelInfo) -> list[str]:
    """Return why a vision-language model is not supported; empty if it is."""
    if model.model_type in VISION_MODEL_TYPES:
        return []
    return [
        f"of vision-language models only {', '.join(sorted(VISION_MODEL_TYPES))} are supported, not "
        f"'{model.model_type}', which was never compared with transformers"
    ]


def _task_refusals(model: ModelInfo) -> list[str]:
    if model.kind == "language":
        return []
    if model.task in TASKS:
        return [_NO_DECODER[model.task]]
    if model.task != "feature-extraction":
        return [
            f"only text generation and the hidden states of encoders are supported, not '{model.task}': "
            "llama.cpp's converter drops or replaces the heads"
        ]
    if model.model_type not in ENCODERS:
        return [f"of encoders only {', '.join(ENCODERS)} are supported, not '{model.model_type}'"]
    return []


def gguf_refusals(model: ModelInfo) -> list[str]:
    """Return why a GGUF file is not supported; empty if it is."""
    if model.kind != "language":
        return [f"only text generation is supported for GGUF files, not '{model.task}'"]
    return []


def _gguf_notes(model: ModelInfo) -> list[str]:
    notes = []
    if low_precision := llamacpp_recipes.low_precision_types(model):
        notes.append(
            f"already quantized ({', '.join(low_precision)}): it is run unchanged, and with its tensors of more bits "
            "quantized again, whose loss comes on top of the file's own; give the float original to lose less "
            "(--against FLOAT tells the loss against it)"
        )
    if llamacpp_recipes.supports_gptq(model) and not llamacpp_recipes.has_checkpoint(model):
        notes.append(
            f"no GPTQ and no mixes by sensitivity: files of the architecture '{model.architecture}' have no checkpoint "
            "that could be run block by block; give the float original to have them"
        )
    return notes


def _checkpoint_notes(model: ModelInfo) -> list[str]:
    notes = []
    if model.tokenizer != "sentencepiece":
        notes.append(
            f"tokenizer '{model.tokenizer}': if llama.cpp does not know its pre-tokenizer, the default one is tried"
        )
    if len(model.dtypes) and set(model.dtypes) - {"F32", "F16", "BF16"}:
        notes.append(f"weights stored as {', '.join(sorted(model.dtypes))} are cast to F16")
    if model.architecture in _NO_WINDOW and model.sliding_window:
        notes.append(
            f"libllama attends to the whole context, the original to {model.sliding_window} tokens: in longer contexts "
            "the output differs from the original's, which only a parity check with longer windows detects"
        )
    return notes


@functools.cache
def architectures() -> frozenset[str]:
    """Return the text architectures that the converter registers, named as in config.json."""
    text = Path(__file__).with_name("architectures.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return the exact recipe, then the quantized types, the most promising first."""
    if model.format == "gguf":
        return llamacpp_recipes.gguf_recipes(model)
    if model.kind == "graph":
        return llamacpp_recipes.encoder_recipes(model)
    if model.task == "image-text-to-text":
        return llamacpp_recipes.vision_recipes(model)
    return llamacpp_recipes.checkpoint_recipes(model)


def offloadable_layers(recipe: Recipe, model: ModelInfo) -> int:
    """Return how many layers can be put on the recipe's device one by one; 0 on the CPU."""
    return offload.offloadable_layers(recipe, model)


def adapter_recipes(model: ModelInfo) -> list[Recipe]:
    """Return the recipes that keep a LoRA adapter apart from its base; none for other models than language models."""
    return (
        llamacpp_recipes.adapter_recipes(model)
        if model.task == "text-generation" and not model.experts
        else []
    )


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """Return the settings to search for an artifact, from recipes.toml."""
    return llamacpp_recipes.tunable_settings(recipe, device, context)


def serving_settings(recipe: Recipe) -> list[TunableSetting]:
    """Return the settings of an engine: whether it keeps the prefixes of prompts."""
    return [PREFIX_CACHE]


def steps(recipe: Recipe) -> Step:
    """Return the steps: convert or link the original → [imatrix] → quantize → [GPTQ].

    Recipes share the first two. Vision-language models also get a projector.
    """
    built = _language_steps(recipe)
    if "adapter" in recipe.build:
        return Step(f"{_ADAPTER}:with_adapter", inputs={"model": built}, reads=("base", "adapter"))
    if "draft" in recipe.build:
        draft = _language_steps(replace(recipe, build=recipe.build["draft"]))
        return Step(f"{_BUILD}:with_draft", inputs={"model": built, "draft": draft})
    if recipe.build.get("source") != "vision":
        return built
    own = recipe.build.get("converter") == "own"
    if own:
        projector = Step(f"{_BUILD}:convert_projector", reads=("model",))
    else:
        projector = Step(f"{_VISION}:projector", reads=("model",))
    return Step(f"{_VISION}:join", inputs={"language": built, "projector": projector})


def _language_steps(recipe: Recipe) -> Step:
    build, source = recipe.build, recipe.build.get("source")
    if source == "gguf":
        converted = LINK_ORIGINAL
    elif "adapter" in build:
        converted = Step(f"{_BUILD}:convert", reads=("base",))
    elif source == "encoder":
        converted = Step(f"{_BUILD}:convert", {"outtype": "f32"}, reads=("model",))
    elif source == "vision" and build.get("converter") != "own":
        converted = Step(
            f"{_BUILD}:convert", inputs={"model": Step(f"{_VISION}:language_model", reads=("model",))}
        )
    else:
        converted = Step(f"{_BUILD}:convert", reads=("model",))
    if recipe.exact:
        return converted
    inputs = {"converted": converted}
    if build.get("imatrix"):
        inputs["imatrix"] = Step(f"{_BUILD}:imatrix", inputs=dict(inputs), reads=("calibration",))
    params = {name: build[name] for name in ("type", "requantize", "tensor_types", "lower") if name in build}
    reads: tuple[str, ...] = ()
    if "mix" in build:
        params["mix"] = {**build["mix"], **llamacpp_recipes.precision_table()}
        reads = ("sensitivity",)
    quantized = Step(f"{_BUILD}:quantize", params, inputs, reads)
    if not build.get("gptq"):
        return quantized
    # llama-quantize gives the head at least 6 bits, where GPTQ gains little; an assigned mix may give it fewer.
    assigned = {"head": True, "mix": params["mix"]} if reads else {"head": True} if "lower" in build else {}
    inputs = {"quantized": quantized, "converted": converted}
    if source == "gguf":
        return Step(f"{_GPTQ}:refine", assigned, {**inputs, "model": CHECKPOINT}, ("calibration", *reads))
    return Step(f"{_GPTQ}:refine", assigned, inputs, ("model", "calibration", *reads))


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> LlamaSession:
    """Load artifact/model.gguf, memory-mapped by default (worker side).

    settings: kv_cache 'f16' (default) or 'q8_0', flash_attention true or false (default: llama.cpp decides), batch and
    ubatch (tokens), decode_threads (default: job.threads), load 'mmap' (default), 'mlock' or 'read', device and
    gpu_layers (how many layers are on it; default: all).
    Raises EdgehoneError with libllama's message if it cannot be loaded.
    """
    from edgehone.backends.llamacpp.session import LlamaSession

    library = toolchain_of(job).binding()
    return LlamaSession(library, artifact / ARTIFACT, settings, job.threads)


def open_runtime_tokenizer(artifact: Path, job: WorkerJob) -> Vocabulary:
    """Load the vocabulary of artifact/model.gguf without its weights (worker side)."""
    from edgehone.backends.llamacpp.vocabulary import Vocabulary

    return Vocabulary(toolchain_of(job).binding(), artifact / ARTIFACT)


def open_engine(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, places: int) -> LlamaEngine:
    """Start llama.cpp's own server for several requests at the same time (worker side)."""
    from edgehone.backends.llamacpp.engine import LlamaEngine, command_line
    from edgehone.backends.shared.kv_budget import context_of

    program = toolchain_of(job).tool("llama-server")
    context = context_of(job.args.get("context"), places)
    command = command_line(program, artifact / ARTIFACT, settings, job.threads, places, context)
    return LlamaEngine(command, job.out, context, context * places, job.args["channel"])


def start_runtime(kind: Literal["language", "graph"], job: WorkerJob) -> None:
    """Load and start libllama without a model (worker side)."""

    toolchain_of(job).binding().llama_backend_init()


def open_vision(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> LlamaVision:
    """Load artifact/model.gguf and the vision encoder artifact/mmproj.gguf (worker side)."""
    from edgehone.backends.llamacpp.vision import LlamaVision

    toolchain = toolchain_of(job)
    libraries = toolchain.binding(), toolchain.vision_binding()
    return LlamaVision(libraries, artifact / ARTIFACT, artifact / PROJECTOR, settings, job.threads)


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """Profile one request (worker side). Raises InputError for an encoder, which has another kind of context."""
    from edgehone.backends.llamacpp import operators

    return operators.operator_times(artifact, settings, job, **request)


def open_routing(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> RoutingSession:
    """Load artifact/model.gguf in a session that reports the experts libllama chooses (worker side)."""
    from edgehone.backends.llamacpp.routing import RoutingSession

    return RoutingSession(toolchain_of(job).binding(), artifact / ARTIFACT, settings, job.threads)


def open_graph(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> EncoderSession:
    """Load an encoder with inputs input_ids and attention_mask and output last_hidden_state (worker side).

    settings: positions (the model type). Raises EdgehoneError with libllama's message if it cannot be loaded.
    """
    from edgehone.backends.llamacpp.encoder import EncoderSession

    library = toolchain_of(job).binding()
    return EncoderSession(library, artifact / ARTIFACT, settings, job.threads)

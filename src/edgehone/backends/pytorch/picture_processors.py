"""Load the picture processors of vision-language models, also of those whose videos need torchvision (worker side).

transformers' AutoProcessor loads a processor for videos beside the one for pictures, which needs torchvision (and that
of SmolVLM num2words). The pictures need Pillow only, so for those families the processor is put together here.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError

# By model type: the module and the class of its processor of pictures, and the processor that puts them into a prompt.
# A SmolVLM puts pictures into prompts as an Idefics 3 does, a Qwen2.5-VL as a Qwen2-VL.
BY_MODEL_TYPE: Mapping[str, tuple[str, str, str]] = {
    "idefics3": ("idefics3.image_processing_pil_idefics3", "Idefics3ImageProcessorPil", "Idefics3Processor"),
    "smolvlm": ("smolvlm.image_processing_pil_smolvlm", "SmolVLMImageProcessorPil", "Idefics3Processor"),
    "qwen2_vl": ("qwen2_vl.image_processing_pil_qwen2_vl", "Qwen2VLImageProcessorPil", "Qwen2VLProcessor"),
    "qwen2_5_vl": ("qwen2_vl.image_processing_pil_qwen2_vl", "Qwen2VLImageProcessorPil", "Qwen2VLProcessor"),
}


def load_processor(folder: Path) -> Any:
    """Load the picture processor in a folder. Raises ModelError, with the cause, if that fails."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if config.get("model_type") in BY_MODEL_TYPE:
            return _pictures_only(folder, *BY_MODEL_TYPE[config["model_type"]])
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        cause = f"{type(error).__name__}: {next(filter(None, str(error).splitlines()), 'no message')}"
        raise ModelError(
            f"the processor of {folder.resolve()} cannot be loaded: {cause}",
            hint="put processor_config.json and preprocessor_config.json into the folder of config.json",
        ) from error


def placeholders(processor: Any) -> tuple[str, str, str]:
    """Return what a chat template writes for a picture, and the texts that the processor puts around its image tokens.

    They are empty for most models. A Gemma 3's template writes the token that begins a picture; an Idefics 3's names
    the first part that a picture is cut into.
    """
    if whole := getattr(processor, "full_image_sequence", None):
        begin, image, rest = str(whole).partition(str(processor.image_token))
        return str(processor.boi_token), begin, rest.replace(image, "")
    token = str(processor.image_token)
    if fake := getattr(processor, "fake_image_token", None):
        first = "<row_1_col_1>" if cut_size(processor) else str(processor.global_image_tag)
        return token, f"{fake}{first}", str(fake)
    return token, "", ""


def cut_size(processor: Any) -> int | None:
    """Return the longer edge in pixels to which a processor resizes pictures before it cuts them into several.

    None for a processor that does not cut all pictures (an Idefics 3's does, as published).
    """
    images = processor.image_processor
    if not getattr(images, "do_image_splitting", False):
        return None
    longest, most = _longest(images.size), _longest(images.max_image_size)
    return longest if longest is not None and most is not None and longest > most else None


def _longest(size: Any) -> int | None:
    found = size.get("longest_edge") if isinstance(size, Mapping) else getattr(size, "longest_edge", None)
    return int(found) if found else None


def _pictures_only(folder: Path, module: str, images: str, processor: str) -> Any:
    """Return a processor for pictures and texts, without one for videos."""
    import transformers

    pil = getattr(importlib.import_module(f"transformers.models.{module}"), images)
    image_processor = pil.from_pretrained(folder, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    template = _chat_template(folder) or getattr(tokenizer, "chat_template", None)
    if processor == "Idefics3Processor":
        stated = _stated(folder, "processor_config.json")
        length = {"image_seq_len": int(stated["image_seq_len"])} if "image_seq_len" in stated else {}
        return transformers.Idefics3Processor(image_processor, tokenizer, chat_template=template, **length)
    return _qwen(image_processor, tokenizer, template)


def _qwen(image_processor: Any, tokenizer: Any, template: str | None) -> Any:
    from transformers import Qwen2VLProcessor
    from transformers.processing_utils import ProcessorMixin

    class PicturesOnly(Qwen2VLProcessor):  # type: ignore[misc] # transformers has no types here
        """transformers reads the parts of a processor off the names of these arguments."""

        def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None) -> None:
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    return PicturesOnly(image_processor, tokenizer, chat_template=template)


def _chat_template(folder: Path) -> str | None:
    """Return the chat template of a processor's own file, or None if there is no such file."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text("utf-8")
    found = _stated(folder, "chat_template.json").get("chat_template")
    return str(found) if found else None


def _stated(folder: Path, name: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        return {}
    content: dict[str, Any] = json.loads((folder / name).read_text("utf-8"))
    return content

"""Which reader a path belongs to, and a clear word for what none of them reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from edgehone.core.errors import ModelError
from edgehone.model import gguf, huggingface, onnx, pt2
from edgehone.model.info import ModelInfo

FOLDER = "a folder with config.json, safetensors weights and a tokenizer (Hugging Face layout)"
SUPPORTED = f"{FOLDER}, or a file: .onnx, .pt2, .gguf"

# Models that are one file (with data files beside it, maybe), by suffix.
READERS: Mapping[str, Callable[[Path], ModelInfo]] = {
    ".onnx": onnx.read,
    ".pt2": pt2.read,
    ".gguf": gguf.read,
}

# Formats that people try, by suffix.
OTHER_FORMATS = {
    ".safetensors": "a bare weight file: the configuration and the tokenizer beside it are needed too",
    ".bin": "a pickled checkpoint: loading a pickle runs the code in it",
    ".pt": "a pickled checkpoint: loading a pickle runs the code in it",
    ".pth": "a pickled checkpoint: loading a pickle runs the code in it",
}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def inspect(path: str | Path) -> ModelInfo:
    """The facts about the model in the folder or file `path`, from headers and configuration only.

    Raises ModelError when it is missing, incomplete, damaged or of a format that is not supported.
    """
    place = Path(path)
    try:
        if not place.exists():
            raise _missing(str(path))
        if not place.is_dir():
            return _reader(place)(place)
        if _is_checkpoint(place):
            return huggingface.read(place)
        file = _only_file(place)
        return READERS[file.suffix.lower()](file)
    except OSError as error:
        raise ModelError(f"cannot open {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL byte in the name
        if "\0" not in str(path):
            raise
        raise ModelError(f"not a path: {str(path)!r}: {error}") from error


def _is_checkpoint(folder: Path) -> bool:
    """Whether it has config.json, and weights that belong to it where there is a model file besides."""
    if not (folder / "config.json").exists():
        return False
    return not _model_files(folder) or any(
        (folder / name).exists() for name in (huggingface.SINGLE, huggingface.INDEX)
    )


def _model_files(folder: Path) -> list[Path]:
    files = (entry for entry in folder.iterdir() if entry.suffix.lower() in READERS and entry.is_file())
    return sorted(file for file in files if not gguf.is_later_shard(file))


def _only_file(folder: Path) -> Path:
    files = _model_files(folder)
    if not files:
        raise ModelError(f"no config.json in {folder}", hint=f"give {SUPPORTED}")
    if len(files) > 1:
        named = ", ".join(file.name for file in files[:5]) + (", …" if len(files) > 5 else "")
        raise ModelError(f"{folder} holds {len(files)} models: {named}", hint=f"give one of them: {files[0]}")
    return files[0]


def _reader(path: Path) -> Callable[[Path], ModelInfo]:
    suffix = path.suffix.lower()
    if suffix in READERS:
        return READERS[suffix]
    what = OTHER_FORMATS.get(suffix, "a file")
    hint = f"give {SUPPORTED}"
    if suffix == ".safetensors" and (path.parent / "config.json").exists():
        hint = f"give its folder: {path.parent}"
    raise ModelError(f"{path} is {what}, not a model folder", hint=hint)


def _missing(given: str) -> ModelError:
    if _HUB_NAME.fullmatch(given):
        hint = f"if that is a name on the hub: edgehone optimize {given} --download"
    else:
        hint = f"give {SUPPORTED}; see what is there: ls {Path(given).parent}"
    return ModelError(f"no such model folder: {given}", hint=hint)

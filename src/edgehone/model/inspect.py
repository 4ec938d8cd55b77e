"""Which reader a path belongs to, and a clear word for what none of them reads."""

from __future__ import annotations

import re
from pathlib import Path

from edgehone.errors import ModelError
from edgehone.model.huggingface import read
from edgehone.model.info import ModelInfo

SUPPORTED = "a folder with config.json, safetensors weights and a tokenizer (Hugging Face layout)"

# Formats that people try, by suffix.
OTHER_FORMATS = {
    ".gguf": "GGUF, a format that edgehone writes but does not read: it is quantized or cast already",
    ".onnx": "ONNX, a format that edgehone does not read as an original",
    ".safetensors": "a bare weight file: the configuration and the tokenizer beside it are needed too",
    ".bin": "a pickled checkpoint: loading a pickle runs the code in it",
    ".pt": "a pickled checkpoint: loading a pickle runs the code in it",
    ".pth": "a pickled checkpoint: loading a pickle runs the code in it",
}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def inspect(path: str | Path) -> ModelInfo:
    """The facts about the model in the folder `path`, from headers and configuration only.

    Raises ModelError when the folder is missing, incomplete, damaged or of a format that is not supported.
    """
    folder = Path(path)
    try:
        if not folder.exists():
            raise _missing(str(path))
        if not folder.is_dir():
            raise _not_a_folder(folder)
        if not (folder / "config.json").exists():
            raise _no_config(folder)
    except OSError as error:
        raise ModelError(f"cannot open {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL byte in the name
        raise ModelError(f"not a path: {str(path)!r}: {error}") from error
    return read(folder)


def _missing(given: str) -> ModelError:
    if _HUB_NAME.fullmatch(given):
        hint = f"if that is a name on the hub: edgehone optimize {given} --download"
    else:
        hint = f"give {SUPPORTED}; see what is there: ls {Path(given).parent}"
    return ModelError(f"no such model folder: {given}", hint=hint)


def _not_a_folder(path: Path) -> ModelError:
    what = OTHER_FORMATS.get(path.suffix.lower(), "a file")
    hint = f"give {SUPPORTED}"
    if path.suffix.lower() == ".safetensors" and (path.parent / "config.json").exists():
        hint = f"give its folder: {path.parent}"
    return ModelError(f"{path} is {what}, not a model folder", hint=hint)


def _no_config(folder: Path) -> ModelError:
    found = {entry.suffix.lower() for entry in folder.iterdir() if entry.is_file()}
    for suffix in (".gguf", ".onnx"):
        if suffix in found:
            message = f"{folder} holds {OTHER_FORMATS[suffix]}"
            return ModelError(message, hint=f"give the original: {SUPPORTED}")
    return ModelError(f"no config.json in {folder}", hint=f"give {SUPPORTED}")

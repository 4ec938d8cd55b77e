"""Find the reader for a model path. Explain why a path cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgehone.core.absence import why_absent
from edgehone.core.errors import ModelError
from edgehone.model import gguf, huggingface, onnx, pt2
from edgehone.model.info import ModelInfo
from edgehone.model.stores import choose, hub_cache
from edgehone.model.stores.locate import locate

FOLDER = "a folder with config.json, safetensors weights and a tokenizer (Hugging Face layout)"
SUPPORTED = f"{FOLDER}, or a file: .onnx, .pt2, .gguf"

# Readers of single-file models (possibly with data files), by suffix.
READERS: Mapping[str, Callable[[Path], ModelInfo]] = {
    ".onnx": onnx.read,
    ".pt2": pt2.read,
    ".gguf": gguf.read,
}

# Unsupported formats that are commonly tried, by suffix.
OTHER_FORMATS = {
    ".safetensors": "a weight file alone: its configuration and tokenizer are needed too",
    ".bin": "a pickled checkpoint: loading a pickle runs the code in it",
    ".pt": "a pickled checkpoint: loading a pickle runs the code in it",
    ".pth": "a pickled checkpoint: loading a pickle runs the code in it",
}


def inspect(path: str | Path) -> ModelInfo:
    """Return the facts about the model in the folder or file `path`, from headers and configuration only.

    `path` may also be the name of a model in a store of this machine (`model.stores.locate`). Raises ModelError if the
    model is missing, incomplete, damaged or in an unsupported format.
    """
    try:
        location = locate(path)
        if not location.exists():
            raise _missing(str(path))
        if not location.is_dir():
            return _reader(location)(location)
        if _is_checkpoint(location):
            return huggingface.read(location)
        file = _only_file(location)
        return READERS[file.suffix.lower()](file)
    except OSError as error:
        raise ModelError(f"cannot open {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL byte in the name
        if "\0" not in str(path):
            raise
        raise ModelError(f"not a path: {str(path)!r}: {error}") from error


def _is_checkpoint(folder: Path) -> bool:
    """Return True for a folder with config.json. If it also has model files, it must have safetensors weights."""
    if not (folder / "config.json").exists():
        return False
    return not _model_files(folder) or any(
        (folder / name).exists() for name in (huggingface.SINGLE, huggingface.INDEX)
    )


def _model_files(folder: Path) -> list[Path]:
    files = (entry for entry in folder.iterdir() if entry.suffix.lower() in READERS and entry.is_file())
    return sorted(file for file in files if choose.is_model(file.name))


def _only_file(folder: Path) -> Path:
    files = _model_files(folder)
    if not files:
        raise ModelError(
            f"no config.json in {folder}", hint=hub_cache.repair_hint(folder, otherwise=f"give {SUPPORTED}")
        )
    if len(files) > 1:
        named = ", ".join(file.name for file in files[:5]) + (", …" if len(files) > 5 else "")
        raise ModelError(
            f"{folder} holds {len(files)} models: {named}", hint=f"give the path of one of them: {files[0]}"
        )
    return files[0]


def _reader(path: Path) -> Callable[[Path], ModelInfo]:
    suffix = path.suffix.lower()
    if suffix in READERS:
        return READERS[suffix]
    if suffix not in OTHER_FORMATS and path.is_file() and is_gguf(path):  # blobs of Ollama have no suffix
        return gguf.read
    description = OTHER_FORMATS.get(suffix, "a file")
    hint = f"give {SUPPORTED}"
    if suffix == ".safetensors" and (path.parent / "config.json").exists():
        hint = f"give its folder: {path.parent}"
    raise ModelError(f"{path} is {description}, not a model folder", hint=hint)


def is_gguf(path: Path) -> bool:
    """Return True if a file begins as GGUF files do."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def _missing(path: str) -> ModelError:
    if hub_cache.parsed(path):
        hint = f"if this is a name on the hub: edgehone optimize {path} --download"
    else:
        hint = f"give {SUPPORTED}; list the folder: ls {Path(path).parent}"
    return ModelError(why_absent(Path(path), f"no such model folder: {path}"), hint=hint)

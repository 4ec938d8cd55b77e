"""Strict parsers on every model file: sizes and offsets, data outside the bundle, and operators of other libraries."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from edgehone.certify.found import Found, counted
from edgehone.certify.profile import Rule
from edgehone.certify.subject import Subject
from edgehone.core.errors import ModelError
from edgehone.formats import gguf, onnx, openvino_ir, pt2, safetensors
from edgehone.formats.numpy_file import check_npy, check_npz

# Operators of the standard and of ONNX Runtime itself. Those of other domains come from a library that must be loaded.
_ONNX_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.ms.internal.nhwc"}
# Read by what another file says of them, or by no program at all.
_WITH_OTHERS = {".data", ".bin", ".txt", ".md", ".jinja", ".model"}


def file_formats(subject: Subject, rule: Rule) -> Found:
    """Count the files that their format's parser refuses, and what a runtime would load from elsewhere."""
    folders = [subject.bundle.path / name for name in ("artifact", "tokenizer", "canaries")]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*"))]
    return formats_of(subject.bundle.path, files, known_only=True)


def formats_of(root: Path, paths: Iterable[Path], *, known_only: bool) -> Found:
    """Count those of some files below a folder. `known_only`: a file without a parser is a problem."""
    problems: list[str] = []
    read: list[str] = []
    unread: list[str] = []
    for path in paths:
        if not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        parser = _PARSERS.get(path.suffix)
        if parser is None:
            unread.append(name)
            if known_only and path.suffix not in _WITH_OTHERS:
                problems.append(f"{name}: no parser for files of this kind")
            continue
        try:
            problems += [f"{name}: {one}" for one in parser(path)]
        except (ModelError, ValueError, OSError, zipfile.BadZipFile) as error:
            problems.append(f"{name}: {error}")
        read.append(name)
    evidence = {"parsed": read, "not_parsed": unread}
    return counted(problems, f"{len(read)} files are as their formats say", evidence, n=len(read))


def _gguf(path: Path) -> list[str]:
    gguf.read_header(path)
    return []


def _safetensors(path: Path) -> list[str]:
    safetensors.read_header(path)
    return []


def _onnx(path: Path) -> list[str]:
    model = onnx.read_model(path)
    own = {domain for domain, _ in model.functions}
    foreign = {f"{domain}:{name}" for domain, name in model.operators if domain not in _ONNX_DOMAINS | own}
    return [f"operator {one} needs a library that is not the runtime's" for one in sorted(foreign)]


def _pt2(path: Path) -> list[str]:
    pt2.check(path)
    return []


def _ir(path: Path) -> list[str]:
    # The tokenizer of OpenVINO GenAI is made of the operators of openvino-tokenizers, which its environment has.
    allowed = {"extension"} if "tokenizer" in path.name else set()
    return openvino_ir.problems(path, allowed)


def _json(path: Path) -> list[str]:
    data = json.loads(path.read_text("utf-8"))
    if path.name == "genai_config.json":
        return [f"{key} is {value!r}, a path outside the artifact" for key, value in _paths(data)]
    if isinstance(data, Mapping) and data.get("auto_map"):
        return [f"auto_map names code that a library would load: {data['auto_map']}"]
    return []


def _paths(data: object, key: str = "") -> list[tuple[str, str]]:
    """Return the entries that name files outside the folder, and libraries of custom operators."""
    if isinstance(data, Mapping):
        return [found for name, value in data.items() for found in _paths(value, str(name))]
    if isinstance(data, list):
        return [found for value in data for found in _paths(value, key)]
    if isinstance(data, str) and ("filename" in key or "custom_ops" in key or "library" in key):
        outside = Path(data).is_absolute() or ".." in re.split(r"[/\\]", data)
        return [(key, data)] if outside or "custom_ops" in key else []
    return []


_PARSERS: Mapping[str, Callable[[Path], list[str]]] = {
    ".gguf": _gguf,
    ".safetensors": _safetensors,
    ".onnx": _onnx,
    ".pt2": _pt2,
    ".xml": _ir,
    ".json": _json,
    ".npy": check_npy,
    ".npz": check_npz,
}

"""The samples of a package: files in C, C#, JavaScript and HTML, filled from templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

_FILES = resources.files(__package__) / "files"
_C_TYPES = {
    "float32": ("FLOAT", 4), "float64": ("DOUBLE", 8), "float16": ("FLOAT16", 2), "bool": ("BOOL", 1),
    **{f"{sign}int{bits}": (f"{sign}INT{bits}".upper(), bits // 8) for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def text_of(name: str) -> str:
    """Return the text of a file or template."""
    return (_FILES / name).read_text("utf-8")


def place(folder: Path, at: str, *names: str, **values: str) -> None:
    """Write files into the folder `at` of `folder`, without `genai_` and `.txt`; with values, they are templates."""
    (folder / at).mkdir(parents=True, exist_ok=True)
    for name in names:
        text = text_of(name)
        filled = Template(text).substitute(values) if values else text
        (folder / at / name.removeprefix("genai_").removesuffix(".txt")).write_text(filled, "utf-8")


def header(canary: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return canary.h for the sample in C."""
    every = [*canary["inputs"], *canary["outputs"]]
    return Template(text_of("canary.h.txt")).substitute(
        rank=max(1, *(len(one["shape"]) for one in every)),
        input_count=len(canary["inputs"]),
        output_count=len(canary["outputs"]),
        inputs=",\n".join(map(_row, canary["inputs"])),
        outputs=",\n".join(map(_row, canary["outputs"])),
    )


def _row(one: Mapping[str, Any]) -> str:
    kind, size = _C_TYPES[one["type"]]
    count = 1
    for extent in one["shape"]:
        count *= extent
    # JSON escapes what C must have escaped, and names are printable.
    words = [json.dumps(one["name"]), json.dumps(one["file"]), f"ONNX_TENSOR_ELEMENT_DATA_TYPE_{kind}"]
    shape = ", ".join(map(str, one["shape"])) or "0"
    return f"    {{{', '.join(words)}, {size}, {count}, {len(one['shape'])}, {{{shape}}}, {one.get('allowed', 0)}}}"

"""Make pictures and their prompts into what every backend is given, with the original's own processor (worker side).

A prompt is tokenized once, with a placeholder for the picture; what stands before and after the placeholder is what
every backend is fed, so that none is judged by how it tokenizes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import PictureProcessorBackend, require
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import TextError
from edgehone.inputs.pictures import PROMPT, drawn
from edgehone.worker.backend import load_backend

if TYPE_CHECKING:
    from edgehone.backends.sessions import PictureProcessor
    from edgehone.inputs.pictures import Picture

# Ids of the evaluation text that follow a prompt where no answer is given: what is said of a picture is scored there.
CONTINUED = 32
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def prepare(job: WorkerJob) -> dict[str, Any]:
    """Write pictures.npz (RGB uint8 arrays "0", "1", …) and prompts.json ([{"before": ids, "after": ids}, …]).

    args: backend. inputs: model, prepared (its evaluation.json is what continues a prompt without an answer), and
    `pictures`, a folder of pictures or a file of JSON lines, where the user gave one.
    Returns pictures (how many) and template {"before", "head", "tail"}: ids around a picture and a prompt.
    Raises TextError for a picture or line that cannot be read, ModelError for a processor that does not work.
    """
    import numpy as np

    backend = require(load_backend(job), PictureProcessorBackend)
    own = backend.open_picture_processor(job.inputs["model"], job)
    text = json.loads((job.inputs["prepared"] / "evaluation.json").read_text("utf-8"))["ids"]
    arrays: dict[str, Any] = {}
    prompts = []
    for index, (picture, prompt, answer) in enumerate(_items(job, own.size)):
        before, after = own.split(picture, prompt)
        follow = own.encode(answer) if answer else text[index * CONTINUED : (index + 1) * CONTINUED]
        arrays[str(index)] = picture
        prompts.append({"before": before, "after": [*after, *follow]})
        job.progress((index + 1) / 8, "pictures")
    with (job.out / "pictures.npz").open("wb") as file:
        np.savez(file, **arrays)
    (job.out / "prompts.json").write_text(json.dumps(prompts), "utf-8")
    return {"pictures": len(prompts), "template": _template(own, arrays["0"])}


def read(path: Path) -> Picture:
    """A picture file as RGB [height, width, 3]. Raises TextError, with the cause, for one that cannot be read."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise TextError(
            f"{path} is no picture that can be read: {error}", hint="give PNG or JPEG files"
        ) from error


def _items(job: WorkerJob, size: int) -> Iterator[tuple[Picture, str, str | None]]:
    """Picture, prompt, and answer where one is given."""
    given = job.inputs.get("pictures")
    if given is None:
        for picture in drawn(size):
            yield picture, PROMPT, None
    elif given.is_dir():
        paths = [path for path in sorted(given.iterdir()) if path.suffix.lower() in SUFFIXES]
        if not paths:
            raise TextError(f"{given} holds no picture", hint=f"files of {', '.join(SUFFIXES)} are read")
        for path in paths:
            yield read(path), PROMPT, None
    else:
        for where, line in lines(given):
            yield read(where), line["text"], line.get("answer")


def lines(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The picture's path and the line, of each line {"image": path, "text": prompt, "answer": optional}.

    Raises TextError, naming the line, for what is not that.
    """
    hint = 'write a line as {"image": "cat.png", "text": "What is this?", "answer": "A cat."}'
    found = 0
    for number, raw in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        if not raw.strip():
            continue
        try:
            line = json.loads(raw)
        except ValueError as error:
            raise TextError(f"{path} line {number} is no JSON: {error}", hint=hint) from error
        fine = isinstance(line, dict) and all(
            isinstance(line.get(n), str) and line[n] for n in ("image", "text")
        )
        if not fine or not isinstance(line.get("answer", ""), str):
            raise TextError(f"{path} line {number} lacks image or text: {raw[:80]!r}", hint=hint)
        picture = path.parent / line["image"]
        if not picture.is_file():
            raise TextError(f"{path} line {number}: no such picture: {picture}", hint=hint)
        found += 1
        yield picture, line
    if not found:
        raise TextError(f"{path} has no line", hint=hint)


def _template(own: PictureProcessor, picture: Picture) -> dict[str, list[int]]:
    """The ids around any prompt: what two prompts have in common at the ends."""
    before, one = own.split(picture, "Mountain river")
    _, other = own.split(picture, "seventy-two")
    head = 0
    while head < min(len(one), len(other)) and one[head] == other[head]:
        head += 1
    tail = 0
    while tail < min(len(one), len(other)) - head and one[-1 - tail] == other[-1 - tail]:
        tail += 1
    return {"before": before, "head": one[:head], "tail": one[len(one) - tail :]}

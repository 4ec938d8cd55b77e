"""Prepare pictures and their prompts for all backends, with the original's own processor (worker side).

A prompt is tokenized once, with a placeholder for the picture; every backend gets the ids before and after the
placeholder, so that differences between tokenizers do not affect the scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import PictureProcessorBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError, TextError
from edgehone.inputs.pictures import PROMPT, generated_pictures
from edgehone.worker.backend import load_backend
from edgehone.worker.picture_pixels import pixels

if TYPE_CHECKING:
    from edgehone.backends.sessions import PictureProcessor
    from edgehone.inputs.pictures import Picture

# Without an answer, this many ids of the evaluation text follow the prompt and are scored.
CONTINUED = 32
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def prepare(job: WorkerJob) -> dict[str, Any]:
    """Write pictures.npz (RGB uint8 arrays "0", "1", …) and prompts.json ([{"before": ids, "after": ids}, …]).

    args: backend. inputs: model, prepared (its evaluation.json continues prompts without an answer), and optionally
    `pictures`, the user's folder of pictures or file of JSON lines. Returns pictures (number) and template
    {"before", "head", "tail", "token", "positions"}: the ids around a picture and its prompt, what the chat template
    writes for a picture, and how many positions of the context it takes; if the processor writes more in its place,
    also "expanded", that text, and "mark", the token in it that is the picture. Raises TextError for a picture or line
    that cannot be read, ModelError for a processor that does not work.
    """
    import numpy as np

    backend = require(load_backend(job), PictureProcessorBackend)
    processor = backend.open_picture_processor(job.inputs["model"], job)
    text = json.loads((job.inputs["prepared"] / "evaluation.json").read_text("utf-8"))["ids"]
    arrays: dict[str, Any] = {}
    prompts = []
    for index, (picture, prompt, answer) in enumerate(_items(job, processor.size)):
        before, after = processor.split(picture, prompt)
        continuation = (
            processor.encode(answer) if answer else text[index * CONTINUED : (index + 1) * CONTINUED]
        )
        arrays[str(index)] = picture
        prompts.append({"before": before, "after": [*after, *continuation]})
        job.progress((index + 1) / 8, "pictures")
    with (job.out / "pictures.npz").open("wb") as file:
        np.savez(file, **arrays)
    (job.out / "prompts.json").write_text(json.dumps(prompts), "utf-8")
    return {"pictures": len(prompts), "template": _template(processor, arrays["0"])}


def read(path: Path) -> Picture:
    """Read a picture file as RGB [height, width, 3]. Raises TextError with the cause if it cannot be read."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.array(pixels(image, "RGB"), dtype=np.uint8)
    except InputError as error:
        raise TextError(f"{path} cannot be read as a picture: {error.message}", hint=error.hint) from error
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise TextError(
            f"{path} cannot be read as a picture: {error}", hint="give PNG or JPEG files"
        ) from error


def _items(job: WorkerJob, size: int) -> Iterator[tuple[Picture, str, str | None]]:
    """Yield each picture with its prompt, and its answer if there is one."""
    source = job.inputs.get("pictures")
    if source is None:
        for picture in generated_pictures(size):
            yield picture, PROMPT, None
    elif source.is_dir():
        paths = [path for path in sorted(source.iterdir()) if path.suffix.lower() in SUFFIXES]
        if not paths:
            raise TextError(f"{source} contains no picture", hint=f"give files of type {', '.join(SUFFIXES)}")
        for path in paths:
            yield read(path), PROMPT, None
    else:
        for path, line in lines(source):
            yield read(path), line["text"], line.get("answer")


def lines(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the picture's path and the content of each line {"image": path, "text": prompt, "answer": optional}.

    Raises TextError, with the line's number, for a line of another form.
    """
    hint = 'write a line as {"image": "cat.png", "text": "What is this?", "answer": "A cat."}'
    count = 0
    for number, raw in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        if not raw.strip():
            continue
        try:
            line = json.loads(raw)
        except ValueError as error:
            raise TextError(f"{path} line {number} is not JSON: {error}", hint=hint) from error
        valid = isinstance(line, dict) and all(
            isinstance(line.get(n), str) and line[n] for n in ("image", "text")
        )
        if not valid or not isinstance(line.get("answer", ""), str):
            raise TextError(f"{path} line {number} lacks image or text: {raw[:80]!r}", hint=hint)
        picture = path.parent / line["image"]
        if not picture.is_file():
            problem = why_absent(picture, f"the picture {picture} does not exist")
            raise TextError(f"{path} line {number}: {problem}", hint=hint)
        count += 1
        yield picture, line
    if not count:
        raise TextError(f"{path} is empty", hint=hint)


def _template(processor: PictureProcessor, picture: Picture) -> dict[str, Any]:
    """Return the ids around any prompt, the common prefix and suffix of two prompts, and what a picture takes."""
    before, one = processor.split(picture, "Mountain river")
    _, other = processor.split(picture, "seventy-two")
    head = 0
    while head < min(len(one), len(other)) and one[head] == other[head]:
        head += 1
    tail = 0
    while tail < min(len(one), len(other)) - head and one[-1 - tail] == other[-1 - tail]:
        tail += 1
    around = {"before": before, "head": one[:head], "tail": one[len(one) - tail :]}
    more = {} if processor.expanded == processor.token else _expanded(processor)
    return {**around, "token": processor.token, "positions": processor.positions(picture), **more}


def _expanded(processor: PictureProcessor) -> dict[str, str]:
    return {"expanded": processor.expanded, "mark": processor.mark}

"""Labels of a folder of images in COCO's format: the boxes of each image, scaled to the model's input."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# File names that datasets use.
FILES = ("annotations.json", "_annotations.coco.json", "instances.json")
# Class of the rows that pad the boxes of an image to those of the image with most.
PADDING = -1.0


def file_in(folder: Path) -> Path | None:
    """Return the annotations in a folder of images, None if there are none."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def boxes(path: Path, images: Sequence[Path], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return class, x1, y1, x2, y2 of each box, [images, boxes, 5], padded with the class -1.

    Classes are numbered in the order of the category ids. Coordinates are those of the image resized to `size` (width,
    height). Raises InputError for a file that is not COCO's, and an image that it does not list.
    """
    import numpy as np

    data = _read(path)
    classes = {
        one["id"]: index for index, one in enumerate(sorted(data["categories"], key=lambda c: c["id"]))
    }
    listed = {Path(one["file_name"]).name: one for one in data["images"]}
    rows: dict[Any, list[tuple[float, ...]]] = {}
    for one in data["annotations"]:
        rows.setdefault(one["image_id"], []).append(_row(one, classes, path))
    found = []
    for image in images:
        entry = listed.get(image.name)
        if entry is None:
            raise InputError(
                f"{path} does not list the image {image.name}", hint="list it, with or without boxes"
            )
        scale = (size[0] / entry["width"], size[1] / entry["height"]) * 2
        found.append(
            [
                (row[0], *(v * s for v, s in zip(row[1:], scale, strict=True)))
                for row in rows.get(entry["id"], [])
            ]
        )
    most = max(1, *(len(some) for some in found))
    array = np.full((len(found), most, 5), PADDING, np.float32)
    for index, some in enumerate(found):
        array[index, : len(some)] = np.array(some, np.float32).reshape(len(some), 5)
    return array


def _read(path: Path) -> Mapping[str, Any]:
    hint = "COCO's format: images (id, file_name, width, height), annotations (image_id, category_id, bbox), categories"
    try:
        data = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint=hint) from error
    needed = {
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("image_id", "category_id", "bbox"),
        "categories": ("id",),
    }
    for table, keys in needed.items():
        entries = data.get(table) if isinstance(data, Mapping) else None
        if not isinstance(entries, list):
            raise InputError(f"{path} has no list '{table}'", hint=hint)
        for number, entry in enumerate(entries):
            if missing := [key for key in keys if not isinstance(entry, Mapping) or key not in entry]:
                raise InputError(f"{path}: {table}[{number}] has no '{missing[0]}'", hint=hint)
    return dict(data)


def _row(entry: Mapping[str, Any], classes: Mapping[Any, int], path: Path) -> tuple[float, ...]:
    """Return class and corners of an annotation, whose box is x, y, width, height."""
    box = entry["bbox"]
    if entry["category_id"] not in classes:
        raise InputError(f"{path}: the category {entry['category_id']!r} is not among its categories")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
        raise InputError(f"{path}: the bbox {box!r} is not x, y, width, height")
    x, y, width, height = (float(v) for v in box)
    return (float(classes[entry["category_id"]]), x, y, x + width, y + height)

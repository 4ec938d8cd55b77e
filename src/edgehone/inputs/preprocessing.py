"""How images become the array that a graph takes: [images] of edgehone.toml, else preprocessor_config.json.

A folder that Hugging Face's libraries export has a preprocessor_config.json beside the model. edgehone reads what image
processors commonly have: resizing (to a size, or by the shortest edge), a crop of the centre, scale, mean and standard
deviation. What it states is carried in the bundle, so that `edgehone run` prepares images as the evaluation did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError

FILE = "preprocessor_config.json"
# Pixels of a side of an image, which no model reaches: more is a mistake that would take all memory.
LARGEST_SIDE = 1 << 14
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers 0 to 5
_NUMBERS = ("scale", "mean", "std")
_SIZES = ("size", "crop")
_HINT = (
    "scale, mean and std are numbers (mean and std may be a list, one per channel), size is the height and width in "
    "pixels: [480, 640], shortest_edge the shorter of both, crop the height and width that are cut out of the centre, "
    f"resample one of {', '.join(_RESAMPLE)}"
)


def of(config: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return how images are prepared: [images] of edgehone.toml, and for keys it lacks preprocessor_config.json.

    The file is read from `folder`, if one is given. Keys: size and crop ([height, width]), shortest_edge (pixels),
    resample, scale, mean, std. Raises InputError.
    """
    stated = table(config.get("images", {}))
    read = read_file(folder / FILE) if folder else {}
    if "size" in stated or "shortest_edge" in stated:  # one way of resizing replaces the other
        read = {name: value for name, value in read.items() if name not in ("size", "shortest_edge", "crop")}
    return {**read, **stated}


def table(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table [images] of edgehone.toml with sizes as [height, width]. Raises InputError with the value."""
    found = dict(given)
    for name, value in found.items():
        if not _valid(name, value):
            raise InputError(f"[images] {name} = {value!r} in edgehone.toml", hint=_HINT)
    for name in _SIZES:
        if name in found:
            sides = found[name] if isinstance(found[name], list) else [found[name]]
            found[name] = [sides[0], sides[-1]]
    if "size" in found and "shortest_edge" in found:
        raise InputError(
            "[images] in edgehone.toml has both size and shortest_edge", hint="leave one of them out"
        )
    return found


def _valid(name: str, value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    if name == "resample":
        return value in _RESAMPLE
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers):
        return False
    if name in _SIZES or name == "shortest_edge":
        most = 1 if name == "shortest_edge" else 2
        return len(numbers) in (1, most) and all(
            isinstance(one, int) and 0 < one <= LARGEST_SIDE for one in numbers
        )
    return name in _NUMBERS and not (name == "std" and 0 in numbers)


def read_file(path: Path) -> dict[str, Any]:
    """Return what a preprocessor_config.json says of images; {} without the file or for another kind of processor.

    Raises InputError for a file that cannot be read, and for values that cannot be meant.
    """
    data = read_object(path)
    if not ({"image_mean", "do_resize", "image_processor_type"} & data.keys()):
        return {}
    found = _resizing(data) | _normalizing(data)
    for name, value in found.items():
        if not _valid(name, value):
            raise InputError(
                f"{path}: {name} is {value!r}",
                hint="repair it, or state the value under [images] in edgehone.toml",
            )
    return found


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a preprocessor_config.json; {} without the file. Raises InputError if it cannot be read."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="repair it, or remove it") from error
    return data if isinstance(data, dict) else {}


def _resizing(data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    size = data.get("size")
    if data.get("do_resize", True) and size is not None:
        if isinstance(size, int):
            # Processors of older versions meant the shortest edge where they crop afterwards.
            found["shortest_edge" if data.get("do_center_crop") else "size"] = size
        elif isinstance(size, dict) and {"height", "width"} <= size.keys():
            found["size"] = [size["height"], size["width"]]
        elif isinstance(size, dict) and "shortest_edge" in size:
            found["shortest_edge"] = size["shortest_edge"]
    if isinstance(found.get("size"), int):
        found["size"] = [found["size"]] * 2
    if isinstance(number := data.get("resample"), int) and 0 <= number < len(_RESAMPLE):
        found["resample"] = _RESAMPLE[number]
    crop = data.get("crop_size")
    if data.get("do_center_crop") and crop is not None:
        found["crop"] = [crop["height"], crop["width"]] if isinstance(crop, dict) else [crop, crop]
    return found


def _normalizing(data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "scale": data.get("rescale_factor", 1 / 255) if data.get("do_rescale", True) else 1.0
    }
    if data.get("do_normalize", True):
        for name, key in (("mean", "image_mean"), ("std", "image_std")):
            if data.get(key) is not None:
                found[name] = data[key]
    return found

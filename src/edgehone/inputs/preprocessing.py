"""How images become the array that a graph takes: [images] of edgehone.toml, else preprocessor_config.json.

A folder that Hugging Face's libraries export has a preprocessor_config.json beside the model. edgehone computes what
image processors commonly do: resizing (to a size, or by the shortest edge), a crop of the centre, scale, mean and
standard deviation, and the order of the channels. What it states is carried in the bundle, so that `edgehone run`
prepares images as the evaluation did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgehone.core.errors import InputError
from edgehone.inputs.image_processor import RESAMPLE, of_images
from edgehone.model.info import Tensor

FILE = "preprocessor_config.json"
# Pixels of a side of an image, which no model reaches: more is a mistake that would take all memory.
LARGEST_SIDE = 1 << 14
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "resample": RESAMPLE,
    "order": ("rgb", "bgr"),
    "channels": (1, 3),
}
_NUMBERS = ("scale", "mean", "std")
_SIZES = ("size", "crop")
_HINT = (
    "scale, mean and std are numbers (mean and std may be a list, one per channel), size is the height and width in "
    "pixels: [480, 640], shortest_edge the shorter of both, crop the height and width that are cut out of the centre, "
    f"resample one of {', '.join(RESAMPLE)}, order rgb or bgr, channels 1 or 3"
)


def of(config: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return how images are prepared: [images] of edgehone.toml, and for keys it lacks preprocessor_config.json.

    The file is read from `folder`, if one is given. Keys: size and crop ([height, width]), shortest_edge (pixels),
    resample, scale, mean, std, order, channels. Raises InputError.
    """
    stated = table(config.get("images", {}))
    return {**(read_file(folder / FILE, stated) if folder else {}), **stated}


def check_inputs(config: Mapping[str, Any], inputs: Sequence[Tensor]) -> None:
    """Raise InputError if [images] states what an input of whole numbers cannot get: it takes pixels as they are."""
    stated = [name for name in _NUMBERS if name in config.get("images", {})]
    if stated and len(inputs) == 1 and "int" in inputs[0].dtype:
        raise InputError(
            f"[images] {stated[0]} in edgehone.toml, and the input {inputs[0].name} is {inputs[0].dtype}: it takes "
            "pixels of 0 to 255 as they are",
            hint=f"leave {' and '.join(stated)} out of [images]",
        )


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
    if name in _CHOICES:
        return value in _CHOICES[name] and not isinstance(value, bool)
    if not numbers or not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers):
        return False
    if name in _SIZES or name == "shortest_edge":
        sides = all(isinstance(one, int) and 0 < one <= LARGEST_SIDE for one in numbers)
        return sides and (len(numbers) <= 2 if name in _SIZES else not isinstance(value, list))
    if name not in _NUMBERS or not all(math.isfinite(one) for one in numbers):
        return False
    return name == "mean" or (0 not in numbers and (name == "std" or not isinstance(value, list)))


def read_file(path: Path, stated: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return what a preprocessor_config.json says of images; {} without the file or for another kind of processor.

    `stated` are the keys of [images], which replace the file's; one way of resizing replaces the other. Raises
    InputError for a file that cannot be read, for values that cannot be meant, and for steps that are not computed.
    """
    found = of_images(read_object(path), path, resized="size" in stated or "shortest_edge" in stated)
    for name, value in found.items():
        if name not in stated and not _valid(name, value):
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

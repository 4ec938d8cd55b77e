"""Turn image files into the array that a graph takes (worker side)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError
from edgehone.model.info import Tensor
from edgehone.worker.picture_pixels import pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

# What exporters call an axis of channels.
_CHANNELS = re.compile(r"^(?:num_|n_)?(?:in_)?(?:channels?|c)$", re.IGNORECASE)


def image_array(
    paths: Sequence[Path], inputs: Sequence[Tensor], options: Mapping[str, Any]
) -> tuple[str, NDArray[np.generic]]:
    """Return the graph's input, and the images in its height and width: (pixel * `scale` - `mean`) / `std`.

    Pixels are 0 to 255, and an input of whole numbers gets them so. The defaults are 1/255, 0 and 1. `size` (height and
    width) is for inputs that take any size; with `shortest_edge` an image keeps its proportions; `crop` is cut out of
    the centre. The channels are red, green and blue, or with `order` bgr the reverse.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    tensor, channels, axis = image_input(inputs, options)
    height, width = image_size(tensor, axis, final_size(options))
    mean, std = (_of_channels(name, options, channels) for name in ("mean", "std"))
    arrays = []
    for path in paths:
        try:
            with Image.open(path) as image:
                fitted = _fitted(pixels(image, "L" if channels == 1 else "RGB"), (height, width), options)
                arrays.append(np.asarray(fitted, np.float32).reshape(height, width, channels))
        except InputError as error:
            raise InputError(
                f"{path} cannot be read as an image: {error.message}", hint=error.hint
            ) from error
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
            raise InputError(
                f"{path} cannot be read as an image: {error}", hint="repair or remove the file"
            ) from error
    array = np.stack(arrays)
    array = array[..., ::-1] if options.get("order") == "bgr" else array
    if np.dtype(tensor.dtype).kind == "f":
        array = (array * float(options.get("scale", 1 / 255)) - mean) / std
    array = array.transpose(0, 3, 1, 2) if axis == 1 else array
    return tensor.name, np.ascontiguousarray(array.astype(tensor.dtype))


def _of_channels(name: str, options: Mapping[str, Any], channels: int) -> NDArray[np.float32]:
    """Return the mean or the deviation of each channel. Raises InputError for a list of another length."""
    import numpy as np

    given = options.get(name, {"mean": 0.0, "std": 1.0}[name])
    found = np.unique(given) if channels == 1 else np.atleast_1d(given)  # grey may have one value thrice
    if len(found) not in (1, channels):
        raise InputError(
            f"images have the {name} {given} ([images] in edgehone.toml, else preprocessor_config.json), and the "
            f"model takes {channels} channel{'s' * (channels > 1)}",
            hint=f"state {name} under [images]: a number, or a list with one for each channel",
        )
    return found.astype(np.float32)


def final_size(options: Mapping[str, Any]) -> Sequence[int] | None:
    """Return the height and width that images have in the end, None if the options leave it to the input."""
    found: Sequence[int] | None = options.get("crop") or options.get("size")
    return found


def image_input(inputs: Sequence[Tensor], options: Mapping[str, Any]) -> tuple[Tensor, int, int]:
    """Return the input that takes an image, its number of channels, and the axis of the channels.

    Where the graph leaves their number open ([batch, num_channels, height, width]) it is `channels` of the options,
    else the length of `mean` or `std`. Raises InputError for other inputs.
    """
    if len(inputs) == 1 and len(inputs[0].shape) == 4:
        tensor = inputs[0]
        axis = _channel_axis(tensor)
        if axis is not None:
            size = tensor.shape[axis]
            channels = size if isinstance(size, int) else _stated_channels(tensor, options)
            if "channels" in options and options["channels"] != channels:
                raise InputError(
                    f"[images] channels = {options['channels']} in edgehone.toml, and the input {tensor.name} takes "
                    f"{list(tensor.shape)}",
                    hint="leave channels out",
                )
            _check_kind(tensor)
            return tensor, channels, axis
    described = "; ".join(f"{t.name} {list(t.shape)}" for t in inputs)
    raise InputError(
        f"a folder of images needs a single input with 1 or 3 channels; the model has {described}",
        hint=fitting_samples(inputs),
    )


def _channel_axis(tensor: Tensor) -> int | None:
    """Return the axis with 1 or 3 entries, else one that is called channels, else an open one beside stated sizes."""
    for axis in (1, 3):
        if tensor.shape[axis] in (1, 3):
            return axis
    for axis in (1, 3):
        size = tensor.shape[axis]
        if isinstance(size, str) and _CHANNELS.search(size):
            return axis
    for axis, sides in ((1, (2, 3)), (3, (1, 2))):
        if not isinstance(tensor.shape[axis], int) and all(isinstance(tensor.shape[s], int) for s in sides):
            return axis
    return None


def _stated_channels(tensor: Tensor, options: Mapping[str, Any]) -> int:
    lengths = {len(options[name]) for name in ("mean", "std") if isinstance(options.get(name), list)}
    found = options.get("channels") or (lengths.pop() if len(lengths) == 1 else None)
    if found in (1, 3):
        return int(found)
    raise InputError(
        f"the input {tensor.name} leaves the number of channels open ({list(tensor.shape)}), and it is not stated",
        hint="write channels = 3 (colours) or 1 (grey) under [images] in edgehone.toml",
    )


def _check_kind(tensor: Tensor) -> None:
    """Raise InputError for an input that cannot hold pixels of 0 to 255."""
    if tensor.dtype in ("bool", "int8"):
        raise InputError(
            f"the input {tensor.name} is {tensor.dtype}, which does not hold pixels of 0 to 255",
            hint="give a FILE.npz with the array that the model takes",
        )


def fitting_samples(inputs: Sequence[Tensor]) -> str:
    """Return which samples to give instead of a folder that does not fit the inputs."""
    if any(tensor.name == "input_ids" for tensor in inputs):
        return "give texts: FILE.txt with one a line, or FILE.jsonl"
    return "give a FILE.npz with the arrays that the model takes"


def image_size(tensor: Tensor, axis: int, given: Sequence[int] | None) -> tuple[int, int]:
    """Return height and width: what the input states, else those given. Raises InputError if they contradict."""
    stated = tensor.shape[2:] if axis == 1 else tensor.shape[1:3]
    wanted = given or (None, None)
    for one, other in zip(stated, wanted, strict=True):
        if isinstance(one, int) and other not in (None, one):
            raise InputError(
                f"images become {list(wanted)} pixels (size or crop under [images] in edgehone.toml, else "
                f"preprocessor_config.json), and the input {tensor.name} has a height and width of {list(stated)}",
                hint=f"state what the model takes under [images]: size = {list(stated)}",
            )
    height, width = (
        one if isinstance(one, int) else other for one, other in zip(stated, wanted, strict=True)
    )
    if height is None or width is None:
        raise InputError(
            f"the input {tensor.name} takes images of any size ({list(tensor.shape)}), and none is given",
            hint="write size = [480, 640] (height, width) under [images] in edgehone.toml, or give a FILE.npz",
        )
    return height, width


def _fitted(image: Image, size: tuple[int, int], options: Mapping[str, Any]) -> Image:
    """Return the image in a height and width: stretched, or by its shortest edge and cut out of the centre."""
    from PIL import Image as images

    height, width = size
    method = images.Resampling[str(options.get("resample", "bicubic")).upper()]
    edge, crop = options.get("shortest_edge"), options.get("crop")
    if edge is not None:
        shorter = min(image.size)  # the longer edge is rounded down, as in transformers
        image = image.resize((image.width * edge // shorter, image.height * edge // shorter), method)
    elif crop is not None and options.get("size"):
        image = image.resize((options["size"][1], options["size"][0]), method)
    if edge is None and crop is None:
        return image.resize((width, height), method)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    # Beyond the edges of a smaller image a crop is black, as image processors pad.
    return image.crop((left, top, left + width, top + height))

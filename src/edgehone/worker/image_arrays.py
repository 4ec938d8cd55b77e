"""Turn image files into the array that a graph takes (worker side)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError
from edgehone.model.info import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


def image_array(
    paths: Sequence[Path], inputs: Sequence[Tensor], options: Mapping[str, Any]
) -> tuple[str, NDArray[np.generic]]:
    """Return the graph's input, and the images resized to its height and width: (pixel * `scale` - `mean`) / `std`.

    Pixels are 0 to 255. The defaults are 1/255, 0 and 1. `size` (height and width) is for inputs that take any size;
    with `shortest_edge` an image keeps its proportions; `crop` is cut out of the centre.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    tensor, channels, axis = image_input(inputs)
    height, width = image_size(tensor, axis, final_size(options))
    pixels = []
    for path in paths:
        try:
            with Image.open(path) as image:
                fitted = _fitted(image.convert("L" if channels == 1 else "RGB"), (height, width), options)
                pixels.append(np.asarray(fitted, np.float32).reshape(height, width, channels))
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
            raise InputError(f"{path} cannot be read as an image: {error}") from error
    array = np.stack(pixels)
    if np.dtype(tensor.dtype).kind == "f":
        mean, std = (
            np.asarray(options.get(name, default), np.float32)
            for name, default in (("mean", 0.0), ("std", 1.0))
        )
        array = (array * float(options.get("scale", 1 / 255)) - mean) / std
    array = array.transpose(0, 3, 1, 2) if axis == 1 else array
    return tensor.name, np.ascontiguousarray(array.astype(tensor.dtype))


def final_size(options: Mapping[str, Any]) -> Sequence[int] | None:
    """Return the height and width that images have in the end, None if the options leave it to the input."""
    found: Sequence[int] | None = options.get("crop") or options.get("size")
    return found


def image_input(inputs: Sequence[Tensor]) -> tuple[Tensor, int, int]:
    """Return the input that takes an image, its number of channels, and the axis of the channels."""
    if len(inputs) == 1 and len(inputs[0].shape) == 4:
        tensor = inputs[0]
        for axis in (1, 3):
            channels = tensor.shape[axis]
            if channels in (1, 3):
                return tensor, int(channels), axis
    described = "; ".join(f"{t.name} {list(t.shape)}" for t in inputs)
    raise InputError(
        f"a folder of images needs a single input with 1 or 3 channels; the model has {described}",
        hint=fitting_samples(inputs),
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

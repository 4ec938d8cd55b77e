"""Bring a decoded picture to 8 bits a channel, upright (worker side)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edgehone.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


def pixels(image: Image, mode: Literal["L", "RGB"]) -> Image:
    """Return an opened picture in grey (L) or RGB, turned as its EXIF orientation says, as transformers and OpenCV do.

    Of 16 bits of grey the upper 8 are kept, as Pillow does for colours; its own conversion makes all but the darkest
    white. Raises InputError for an animated picture, and for pixels whose range is not known (32 bits, floats).
    """
    import numpy as np
    from PIL import Image as images
    from PIL import ImageOps

    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise InputError(
            f"the picture is animated: it has {frames} frames", hint="give one frame as a PNG file"
        )
    if image.mode in ("I", "F"):
        kind = "whole numbers of 32 bits" if image.mode == "I" else "floats"
        raise InputError(
            f"its pixels are {kind}, whose range is not known", hint="save it with 8 or 16 bits a channel"
        )
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        upright = images.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return upright.convert(mode)

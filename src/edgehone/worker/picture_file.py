"""Decode a picture that a client sent, within limits (worker side)."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from typing import TYPE_CHECKING

from edgehone.core.errors import InputError
from edgehone.worker.memory_limit import at_most
from edgehone.worker.picture_pixels import pixels

if TYPE_CHECKING:
    from edgehone.inputs.pictures import Picture

# The formats that Pillow may try, by its names.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
# The most pixels, and pixels of an edge. Processors resize a picture by its shorter edge: one that is 1 pixel high
# would become very long, so the longer edge has at most so many times the length of the shorter.
PIXELS, EDGE, RATIO = 1 << 24, 8192, 20
# Bytes that decoding may take: several copies of a picture with that many pixels.
_MEMORY = 512 << 20


def decode(data: str) -> Picture:
    """Return a picture in base64 as RGB [height, width, 3]. Raises what `checked` raises."""
    return checked(_content(data))


def checked(content: bytes) -> Picture:
    """Return the picture in a file as RGB [height, width, 3].

    The size is read from its head before pixels are decoded. Raises InputError for what is no picture of FORMATS, is
    damaged, animated, or larger than the limits.
    """
    import numpy as np
    from PIL import Image

    try:
        with at_most(_MEMORY), warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limits here are smaller
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_size(*image.size)
                return np.array(pixels(image, "RGB"), dtype=np.uint8)
    except InputError:
        raise
    # A damaged file makes Pillow raise errors of many types.
    except Exception as error:
        known = isinstance(error, Image.UnidentifiedImageError)
        cause = f"it is none of {', '.join(FORMATS)}" if known else f"{error or type(error).__name__}"
        raise InputError(f"the picture cannot be read: {cause}") from error


def _content(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the picture is not base64: {error}") from None


def _check_size(width: int, height: int) -> None:
    shorter, longer = sorted((width, height))
    if width * height > PIXELS or longer > EDGE or longer > RATIO * shorter:
        raise InputError(
            f"the picture has {width} x {height} pixels; at most {PIXELS} in all and {EDGE} along an edge are read, "
            f"and a longer edge of at most {RATIO} times the shorter"
        )

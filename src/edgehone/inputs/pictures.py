"""Generated pictures for evaluating vision-language models, so that none has to be shipped or downloaded.

They differ in features that vision encoders respond to: colour, edges, texture, shapes and writing. Users can provide
their own pictures instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

SEED = 20240601
PROMPT = "What is shown in this picture?"


def generated_pictures(size: int) -> list[Picture]:
    """Return eight square RGB pictures [size, size, 3], the same in every call."""
    import numpy as np

    y, x = np.mgrid[0:size, 0:size] / max(1, size - 1)
    generator = np.random.default_rng(SEED)
    noise = generator.random((8, 8))[(y * 7).round().astype(int), (x * 7).round().astype(int)]
    return [
        _rgb((x, y, 1 - x)),  # a colour gradient
        _rgb((_disc(x, y, 0.5, 0.5, 0.35), 0.2 + 0 * x, 1 - y)),  # a disc
        _rgb(((x * 8).astype(int) % 2, (x * 8).astype(int) % 2, 0.3 + 0 * x)),  # stripes
        _rgb((((x * 4).astype(int) + (y * 4).astype(int)) % 2,) * 3),  # a chessboard
        _rgb((noise, noise.T, 1 - noise)),  # patches
        _rgb((0.9 - _disc(x, y, 0.3, 0.7, 0.2), 0.9 - _disc(x, y, 0.7, 0.3, 0.2), 0.9 + 0 * x)),  # two discs
        _rgb((1 - _strokes(x, y),) * 3),  # writing
        _rgb((np.sin(20 * x * y) / 2 + 0.5, np.cos(9 * (x - y)) / 2 + 0.5, y)),  # ripples
    ]


def grey(picture: Picture) -> Picture:
    """Return a plain grey picture of the same size. It shows how far a model's answer depends on the picture."""
    import numpy as np

    return np.full_like(picture, 127)


def _rgb(channels: Any) -> Picture:
    import numpy as np

    picture = np.stack([np.broadcast_to(c, channels[0].shape) for c in channels], axis=-1)
    return np.ascontiguousarray((255 * np.clip(picture, 0, 1)).round().astype(np.uint8))


def _disc(x: Any, y: Any, across: float, down: float, radius: float) -> Any:
    return ((x - across) ** 2 + (y - down) ** 2 < radius**2).astype(float)


def _strokes(x: Any, y: Any) -> Any:
    """Return a mask of the letters E and T, composed of bars."""
    bars = [(0.15, 0.2, 0.2, 0.8), (0.15, 0.45, 0.2, 0.28), (0.15, 0.45, 0.46, 0.54), (0.15, 0.45, 0.72, 0.8)]
    bars += [(0.55, 0.9, 0.2, 0.28), (0.7, 0.76, 0.2, 0.8)]
    marks = 0 * x
    for left, right, top, bottom in bars:
        marks = marks + ((x >= left) & (x <= right) & (y >= top) & (y <= bottom))
    return (marks > 0).astype(float)

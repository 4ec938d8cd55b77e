"""Upper bounds of the buckets of histograms, in seconds. The limits of alerts are rounded up to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Ten a decade (the series R10 of ISO 3), at most 1.28 times apart, so that a limit is rounded up by at most that. They
# are the same for all bundles: with bounds from certificates, another bundle would have other buckets.
_DECADE: Final = (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)


def _bounds(least: float, most: float) -> tuple[float, ...]:
    every = (float(f"{one}e{power}") for power in range(-4, 4) for one in _DECADE)
    return tuple(one for one in every if least <= one <= most)


SECONDS: Final = (*_bounds(0.0005, 100), 120.0)
TOKEN_SECONDS: Final = _bounds(0.0002, 2.5)
# Of the histograms that alerts are about.
BOUNDS: Final[Mapping[str, tuple[float, ...]]] = {
    "edgehone_request_seconds": SECONDS,
    "edgehone_first_token_seconds": SECONDS,
    "edgehone_token_seconds": TOKEN_SECONDS,
}

"""Upper bounds of the buckets of histograms, in seconds. The limits of alerts are rounded up to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# At most 1.6 times apart, so that a limit is rounded up by at most that.
SECONDS: Final = (
    0.0005, 0.0007, 0.001, 0.0016, 0.0025, 0.0035, 0.005, 0.007, 0.01, 0.016, 0.025, 0.035, 0.05, 0.07, 0.1, 0.16, 0.25,
    0.35, 0.5, 0.7, 1, 1.6, 2.5, 3.5, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120,
)  # fmt: skip
TOKEN_SECONDS: Final = (
    0.0005, 0.0007, 0.001, 0.0016, 0.0025, 0.0035, 0.005, 0.007, 0.01, 0.016, 0.025, 0.035, 0.05, 0.07, 0.1, 0.16, 0.25,
    0.35, 0.5, 0.7, 1, 1.6, 2.5,
)  # fmt: skip
# Of the histograms that alerts are about.
BOUNDS: Final[Mapping[str, tuple[float, ...]]] = {
    "edgehone_request_seconds": SECONDS,
    "edgehone_first_token_seconds": SECONDS,
    "edgehone_token_seconds": TOKEN_SECONDS,
}

"""Package a bundle as an image, where the programs for it are installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgehone.package import registry
from edgehone.package.write import Order, Packed, pack
from tests.package.containers import (
    podman,
)

Make = Callable[..., Path]


def pack_image(bundle: Path, out: Path, **options: str) -> Packed:
    podman()  # skips where a program is missing
    return pack(bundle, Order(registry.load("container"), out, options))

"""Sizes in bytes, as people write and read them."""

from __future__ import annotations

import re

from edgehone.core.errors import InputError

# Decimal units, as app stores and file managers count; the binary ones have an i.
_UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def bytes_of_size(text: str, what: str) -> int:
    """Return a size such as "100MB", "<50 MB" or "64 MiB" in bytes. Raises InputError, which names `what`."""
    match = re.fullmatch(r"\s*<?=?\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None or float(match[1]) * unit < 1:
        raise InputError(f"{what} is {text!r}", hint="give a size such as 100MB or 64MiB")
    return int(float(match[1]) * unit)


def shown(size: float) -> str:
    """Return a size for people: "2.26 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 1000 * factor else f"{size / factor:.0f} {unit}"
    return f"{size:.0f} bytes"

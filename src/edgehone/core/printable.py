"""Text of others for a terminal: names in model files, reasons in a registry's history."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` with control characters escaped, which could else forge lines or be commands to the terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)

"""The bytes of the requests that a server holds at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgehone.serve.http import Refused


class Held:
    """Requests that were received, or are being received, and are not answered yet: at most so many bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @contextmanager
    def request(self, size: int) -> Iterator[None]:
        """Hold a request of so many bytes. Raises Refused (429) if all together would be too many."""
        if self._held and self._held + size > self._most:
            raise Refused(
                429,
                f"requests of {self._held} bytes are being answered; {size} more would be more than {self._most}",
                headers={"retry-after": "1"},
            )
        self._held += size
        try:
            yield
        finally:
            self._held -= size

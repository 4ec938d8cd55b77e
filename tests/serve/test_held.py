"""The bytes of requests that a server holds are limited."""

from __future__ import annotations

import pytest

from edgehone.serve.http import Refused
from edgehone.serve.infer.held import Held


def test_requests_are_refused_while_too_many_bytes_are_held() -> None:
    held = Held(100)
    with held.request(60), held.request(40):
        with (
            pytest.raises(Refused, match="requests of 100 bytes are being answered; 1 more") as caught,
            held.request(1),
        ):
            pass
        assert caught.value.status == 429 and caught.value.headers == {"retry-after": "1"}
    with held.request(500):  # alone, any request may come
        pass
    with pytest.raises(ZeroDivisionError), held.request(100):
        1 / 0  # noqa: B018
    with held.request(100):
        pass

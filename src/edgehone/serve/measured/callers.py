"""The tenant and the route of a request, from its headers, as labels with few values.

A client writes these headers, so values are checked and their number is bounded: those beyond it are "other", those
that are no name "invalid", and a request without the header has "none".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgehone.serve.record import Headers

NONE, OTHER, INVALID = "none", "other", "invalid"
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,63}")
# Values of headers whose pair is remembered, so that the next request with them costs a look-up.
_REMEMBERED, _LONG = 4096, 256
Caller = tuple[str, str]


class Callers:
    """The pairs of tenant and route that were seen: the first `most`, and ("other", "other") for all further ones."""

    def __init__(self, tenant_header: str, route_header: str, most: int) -> None:
        self._tenant, self._route, self._most = (
            tenant_header.lower().encode(),
            route_header.lower().encode(),
            most,
        )
        self._found: dict[tuple[bytes, bytes], Caller] = {}
        self._pairs: set[Caller] = set()

    def of(self, headers: Headers) -> Caller:
        """Return the tenant and the route of a request; names of headers are in lower case, as in ASGI and gRPC."""
        tenant = route = b""
        for name, value in headers:
            if name == self._tenant:
                tenant = value
            elif name == self._route:
                route = value
        found = self._found.get((tenant, route))
        if found is None:
            found = self._pair(_label(tenant), _label(route))
            if len(self._found) < _REMEMBERED and len(tenant) + len(route) < _LONG:
                self._found[tenant, route] = found
        return found

    def _pair(self, tenant: str, route: str) -> Caller:
        pair = tenant, route
        if pair not in self._pairs:
            if len(self._pairs) >= self._most:
                return OTHER, OTHER
            self._pairs.add(pair)
        return pair


def _label(value: bytes) -> str:
    if not value:
        return NONE
    return value.decode("ascii") if _NAME.fullmatch(value) else INVALID


def grpc_headers(metadata: Mapping[str, str | bytes]) -> Headers:
    """Return the metadata of a gRPC call as headers."""
    return [
        (name.encode(), value.encode("utf-8", "replace") if isinstance(value, str) else value)
        for name, value in metadata.items()
    ]

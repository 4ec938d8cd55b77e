"""Refuse what the pages of other sites send to a server without keys.

A browser lets every page send requests to addresses of the user's own machine. Without permission (CORS) it does not
show the answer to the page, but the model computes it. The browser tells with Sec-Fetch-Site, or at least Origin, that
a request comes from another site. A page under a name whose owner lets it point to 127.0.0.1 (DNS rebinding) does not
count as another site and could read the answers: it is recognized by the name in Host.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping

from edgehone.serve.http import Refused

_SAFE = ("GET", "HEAD", "OPTIONS")


def check_origin(method: str, headers: Mapping[str, str], *, is_local: bool) -> None:
    """Raise Refused (403) for a request of another site's page. `is_local`: only this machine can connect.

    The rule for Sec-Fetch-Site and Origin is that of Go's net/http.CrossOriginProtection.
    """
    host = headers.get("host", "")
    if is_local and host and not _is_own(_name(host)):  # browsers always send one
        raise Refused(
            403,
            f"Host is {host[:80]!r}: without keys, a server of this machine answers to localhost only; "
            "give --api-key-file, or let the proxy send 'Host: localhost'",
        )
    if method in _SAFE:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and origin not in (f"http://{host}", f"https://{host}")
    if foreign:
        raise Refused(
            403, "the request comes from the page of another site: only a server with keys answers those"
        )


def _name(host: str) -> str:
    """Return the name or address in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


@functools.lru_cache(maxsize=64)
def _is_own(name: str) -> bool:
    """Whether a name means this machine whatever a name server says."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

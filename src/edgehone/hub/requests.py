"""HTTP requests to a hub with the Hugging Face Hub's interface: two end points, by the standard library only."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPMessage
from typing import IO, Any

from edgehone.core.errors import InputError, SetupError

ENDPOINT = "https://huggingface.co"  # the public hub, as in huggingface_hub; HF_ENDPOINT names another
TIMEOUT = 30.0  # seconds without a byte
LISTING_LIMIT = 64 << 20  # bytes of a repository's listing
_REDIRECTS_TO = ("http", "https")


class Interrupted(Exception):
    """The connection failed or ended early: worth another attempt."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to HTTP only, never from HTTPS to HTTP, and gives the token to the hub's own host only."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in _REDIRECTS_TO or (old.scheme == "https" and new.scheme != "https"):
            raise InputError(
                f"{old.netloc} redirects to {newurl[:200]}, which is not followed",
                hint="set HF_ENDPOINT to another hub",
            )
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if made is not None and token and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            made.add_unredirected_header("Authorization", token)
        return made


_OPENER = urllib.request.build_opener(_Redirects)


def endpoint() -> str:
    """Return the hub's address: $HF_ENDPOINT, else the public hub. Raises InputError if it is no HTTP address."""
    address = os.environ.get("HF_ENDPOINT") or ENDPOINT
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in _REDIRECTS_TO or not parts.netloc:
        raise InputError(f"HF_ENDPOINT is {address!r}, not an address", hint="write https://HOST")
    return address.rstrip("/")


def listing(repository: str, revision: str) -> dict[str, Any]:
    """Return what the hub says of a revision: its commit and its files.

    Raises InputError if there is no such model or revision, or it may not be read, and Interrupted.
    """
    address = (
        f"{endpoint()}/api/models/{repository}/revision/{urllib.parse.quote(revision, safe='')}?blobs=true"
    )
    with opened(address, {}, f"{repository} at {revision}") as response:
        try:
            content = response.read(LISTING_LIMIT + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"the connection to {endpoint()} ended: {error}") from error
    try:
        found = json.loads(content) if len(content) <= LISTING_LIMIT else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{address} sent no listing of files: {content[:60]!r}", hint="check HF_ENDPOINT")
    return found


def open_file(repository: str, commit: str, name: str, start: int) -> http.client.HTTPResponse:
    """Open a file of a commit from byte `start` on. The answer may still be the whole file (status 200)."""
    address = f"{endpoint()}/{repository}/resolve/{commit}/{urllib.parse.quote(name)}"
    return opened(address, {"Range": f"bytes={start}-"} if start else {}, f"{name} of {repository}")


def opened(address: str, headers: Mapping[str, str], what: str) -> http.client.HTTPResponse:
    """Return the open answer to a GET. Raises InputError for a refusal, SetupError if the host cannot be reached.

    Errors of the server (5xx, 408, 429) and broken connections raise Interrupted.
    """
    # Compressed answers would have other lengths and ranges than the files.
    request = urllib.request.Request(
        address, headers={"User-Agent": "edgehone", "Accept-Encoding": "identity", **headers}
    )
    if token := os.environ.get("HF_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    host = urllib.parse.urlsplit(address).netloc
    try:
        response: http.client.HTTPResponse = _OPENER.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(error.code, host, what) from error
    except urllib.error.URLError as error:
        raise SetupError(
            f"{host} cannot be reached: {error.reason}",
            hint="check the network, or give a folder of this machine",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"the connection to {host} failed: {error!r}") from error
    return response


def _refusal(status: int, host: str, what: str) -> Exception:
    if status >= 500 or status in (408, 429):
        return Interrupted(f"{host} answers {status} for {what}")
    if status in (401, 403):  # the public hub answers 401 for models that do not exist, too
        absent = ", or there is no such model" if status == 401 else ""
        return InputError(
            f"{host} does not give {what} without permission ({status}){absent}",
            hint="check the spelling; else accept the model's terms on its page, and set HF_TOKEN to a token that may "
            "read it",
        )
    if status == 404:
        return InputError(
            f"{host} has no {what}", hint="check the name, the revision and the spelling of the owner"
        )
    redirected = ", a redirect that is not followed" if 300 <= status < 400 else ""
    return InputError(f"{host} answers {status} for {what}{redirected}", hint="check HF_ENDPOINT")

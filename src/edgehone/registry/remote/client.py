"""A client of one OCI registry, by the OCI distribution specification 1.1.

It holds one piece of a blob in memory at a time, and every error is one of edgehone's: SetupError where the registry
cannot be reached, refuses, is slow or full; InputError where it has not what was asked for, or sends something else.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import httpx

from edgehone.core.errors import EdgehoneError, InputError, SetupError
from edgehone.registry.blobs import digest_of
from edgehone.registry.modelpack import OCI_MANIFEST
from edgehone.registry.remote.address import Address, is_local
from edgehone.registry.remote.deadline import Deadline
from edgehone.registry.remote.limits import Limits, shipped
from edgehone.registry.remote.login import login_at

_INDEX = "application/vnd.oci.image.index.v1+json"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Client:
    """A client of the registry at an address. Use it as a context manager, in one thread."""

    def __init__(self, address: Address, limits: Limits | None = None) -> None:
        self.address = address
        self.limits = limits or shipped()
        self._deadline = Deadline()
        self._authorization: str | None = None
        timeout = httpx.Timeout(self.limits.idle, connect=self.limits.connect)
        self._http = httpx.Client(
            timeout=timeout, follow_redirects=True, headers={"Accept-Encoding": "identity"}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._http.close()

    def ask(
        self,
        method: str,
        url: str,
        *,
        expected: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        content: Callable[[], Iterator[bytes]] | bytes = b"",
        seconds: float | None = None,
    ) -> httpx.Response:
        """Send a request and return the answer with its body, which must be small.

        `content` as a function is called for each attempt, of which there is a second after a request to log in.
        GET and HEAD are repeated where the registry or the connection fails. Raises SetupError or InputError if the
        status is not an `expected` one.
        """
        pauses = [self.limits.first_pause * 2**n for n in range(self.limits.attempts - 1)]
        for pause in pauses if method in ("GET", "HEAD") else ():
            try:
                return self._ask(method, url, expected, headers or {}, content, seconds)
            except Failed as error:
                if isinstance(error.__cause__, httpx.TimeoutException):
                    raise
                time.sleep(pause)
        return self._ask(method, url, expected, headers or {}, content, seconds)

    def _ask(
        self,
        method: str,
        url: str,
        expected: tuple[int, ...],
        headers: Mapping[str, str],
        content: Callable[[], Iterator[bytes]] | bytes,
        seconds: float | None,
    ) -> httpx.Response:
        with self._told(), self._deadline.within(seconds or self.limits.answer):
            response = self._send(method, url, headers, content)
            try:
                body = self._small_body(response)
            finally:
                response.close()
        if response.status_code not in expected:
            raise self._refused(method, url, response, body)
        return httpx.Response(response.status_code, headers=_plain(response.headers), content=body)

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Give an answer whose body is read with `pieces`. Its status is 200 or 206."""
        with self._told():
            with self._deadline.within(self.limits.answer):
                response = self._send("GET", url, headers, b"")
            try:
                if response.status_code not in (200, 206):
                    with self._deadline.within(self.limits.answer):
                        body = self._small_body(response)
                    raise self._refused("GET", url, response, body)
                yield response
            finally:
                response.close()

    def manifest(self, reference: str, *, any_type: bool = False) -> bytes | None:
        """Return the manifest of a tag or digest, None if there is none.

        Raises InputError if its content is not what the reference, or the registry's own header, says.
        """
        url = f"{self.address.base}/manifests/{reference}"
        accept = f"{OCI_MANIFEST}, {_INDEX}" if any_type else OCI_MANIFEST
        response = self.ask("GET", url, expected=(200, 404), headers={"Accept": accept})
        if response.status_code == 404:
            return None
        found = digest_of(response.content)
        told = response.headers.get("Docker-Content-Digest", found)
        asked = reference if ":" in reference else told
        if not found == told == asked:
            wanted = asked if asked != found else told
            raise InputError(
                f"{self.address.host} sent another manifest than asked: {found}, not {wanted}",
                hint="the registry or something on the way to it changed the content; do not use it",
            )
        return response.content

    def put_manifest(self, reference: str, data: bytes, media_type: str = OCI_MANIFEST) -> httpx.Response:
        """Write a manifest under a tag or its digest."""
        url = f"{self.address.base}/manifests/{reference}"
        return self.ask("PUT", url, expected=(200, 201), headers={"Content-Type": media_type}, content=data)

    def has_blob(self, digest: str) -> bool:
        """Return True if the repository has a blob."""
        return self.ask("HEAD", f"{self.address.base}/blobs/{digest}", expected=(200, 404)).status_code == 200

    def small_blob(self, digest: str) -> bytes:
        """Return a blob of at most 4 MiB. Raises InputError if it is not what its digest says."""
        data = self.ask("GET", f"{self.address.base}/blobs/{digest}", expected=(200,)).content
        if digest_of(data) != digest:
            raise InputError(
                f"{self.address.host} sent a blob that is not what its digest says: {digest_of(data)}, not {digest}",
                hint="the registry's content, or the connection, is damaged",
            )
        return data

    def same_origin(self, url: str) -> bool:
        """Return True if a URL is of this registry, which alone gets the login."""
        one, base = httpx.URL(url), httpx.URL(self.address.base)
        return (one.scheme, one.netloc) == (base.scheme, base.netloc)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Callable[[], Iterator[bytes]] | bytes,
    ) -> httpx.Response:
        response = self._once(method, url, headers, content)
        if response.status_code == 401 and self.same_origin(url):
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            self._authorization = self._answer_to(challenge)
            response = self._once(method, url, headers, content)
        return response

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Callable[[], Iterator[bytes]] | bytes,
    ) -> httpx.Response:
        login = (
            {"Authorization": self._authorization} if self._authorization and self.same_origin(url) else {}
        )
        body = content() if callable(content) else content
        request = self._http.build_request(
            method,
            url,
            headers={**headers, **login},
            content=body,
            extensions={"trace": self._deadline.trace},
        )
        return self._http.send(request, stream=True)

    def _answer_to(self, challenge: str) -> str:
        """Return the header of the user's login, or of a token that the registry's token service gives for it."""
        host = self.address.host
        login = login_at(host)
        kind, _, rest = challenge.partition(" ")
        basic = httpx.BasicAuth(*login) if login else None
        if kind.lower() == "bearer":
            told = dict(_CHALLENGE.findall(rest))
            realm = told.pop("realm", "")
            url = httpx.URL(realm)
            if not (url.scheme == "https" or (url.scheme == "http" and is_local(url.host))):
                raise SetupError(
                    f"{host} asks to log in at {realm!r}, which is not HTTPS", hint="use another registry"
                )
            extensions = {"trace": self._deadline.trace}
            response = self._http.get(url, params=told, auth=basic, extensions=extensions)
            token = _token(response)
            if token:
                return f"Bearer {token}"
        elif kind.lower() == "basic" and basic:
            return str(
                next(basic.auth_flow(httpx.Request("GET", self.address.base))).headers["Authorization"]
            )
        what = "refused the login" if login else "needs a login"
        raise SetupError(f"{host} {what}", hint=f"skopeo login {host}")

    def _small_body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        for piece in response.iter_raw():
            body += piece
            if len(body) > self.limits.most_manifest_bytes:
                most = self.limits.most_manifest_bytes
                raise InputError(
                    f"{self.address.host} sent more than {most} bytes where a manifest is expected",
                    hint="check the address",
                )
        return bytes(body)

    def _refused(self, method: str, url: str, response: httpx.Response, body: bytes) -> EdgehoneError:
        status = response.status_code
        path = httpx.URL(url).path
        what = f"{self.address.host} answered {status} to {method} {path}{_reason(body)}"
        if status in (401, 403):
            return SetupError(
                what, hint=f"log in with an account that may do this: skopeo login {self.address.host}"
            )
        if status == 404:
            return InputError(what, hint="check the host, the repository and the tag")
        if status == 429 or status >= 500:
            return Failed(
                what, hint="the registry failed or has no space: try again later, or ask who runs it"
            )
        return SetupError(what, hint="check that the address is that of an OCI registry")

    @contextmanager
    def _told(self) -> Iterator[None]:
        host = self.address.host
        try:
            yield
        except httpx.ConnectError as error:
            raise Failed(
                f"{host} cannot be reached: {error}", hint="check the address and the network"
            ) from error
        except httpx.TimeoutException as error:
            what = str(error) or "no answer in time"
            raise Failed(
                f"{host} is too slow: {what}", hint="try again later; what was sent is kept"
            ) from error
        except httpx.TransportError as error:
            hint = "run the same command again: it continues where it was"
            raise Failed(f"the connection to {host} broke: {error}", hint=hint) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise InputError(
                f"{host} sent something that is not HTTP: {error}", hint="check the address"
            ) from error


class Failed(SetupError):
    """The registry or the network failed; another attempt may succeed."""


def _token(response: httpx.Response) -> str | None:
    try:
        data = response.json()
        token = data.get("token") or data.get("access_token")
    except (ValueError, AttributeError):
        return None
    return token if isinstance(token, str) else None


def _plain(headers: httpx.Headers) -> httpx.Headers:
    """The headers without those that say how the body was sent, which is read already."""
    kept = [
        (name, value) for name, value in headers.multi_items() if name.lower() not in ("content-encoding",)
    ]
    return httpx.Headers(kept)


def _reason(body: bytes) -> str:
    """The registry's own words, if there are any."""
    try:
        errors = json.loads(body)["errors"]
        texts = [" ".join(str(one.get(part) or "") for part in ("code", "message")).strip() for one in errors]
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    return f": {'; '.join(texts)[:300]}" if texts else ""

"""Documents of fleets in an OCI registry: artifacts of one small layer under a tag.

CHANNEL                   the channel's document
release.CHANNEL.NUMBER    the OCI manifest of a release, so that the registry keeps it
REPOSITORY/reports: report.CHANNEL.DEVICE    a device's report; devices need to write to this repository only
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import httpx

from edgehone.core.errors import InputError, SetupError
from edgehone.registry.remote.address import Address
from edgehone.registry.remote.client import Client

# A document is some kB; a registry that sends more is not asked for it.
MOST_BYTES: Final = 1 << 20
_PAGE: Final = 1000
_MOST_PAGES: Final = 1000


def reports_address(channel: Address) -> Address:
    """Return the repository of the reports of a channel."""
    return replace(channel, repository=f"{channel.repository}/reports")


def report_tag(channel: Address, device: str) -> str:
    """Return the tag of a device's report."""
    return f"{report_prefix(channel)}{device}"


def report_prefix(channel: Address) -> str:
    """Return what the tags of all reports of a channel begin with."""
    return f"report.{channel.reference}."


def release_tag(channel: Address, number: int) -> str:
    """Return the tag of a release."""
    return f"release.{channel.reference}.{number}"


def get_document(client: Client, tag: str, kind: str) -> bytes | None:
    """Return the document under a tag, compared with its digest; None if there is none.

    Raises InputError if the tag has something else.
    """
    content = client.manifest(tag)
    if content is None:
        return None
    where = f"{client.address.host}/{client.address.repository}:{tag}"
    try:
        manifest = json.loads(content)
        (layer,) = manifest["layers"]
        found, digest, size = manifest["artifactType"], str(layer["digest"]), int(layer["size"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{where} is no document of a fleet: {error!r}", hint="check the address") from error
    if found != kind or not 0 < size <= MOST_BYTES:
        raise InputError(f"{where} is of type {found}, {size} bytes; not {kind}", hint="check the address")
    return client.small_blob(digest)


def tags(client: Client, prefix: str) -> Sequence[str]:
    """Return the tags of the repository with a prefix; none if there is no repository."""
    found: dict[str, None] = {}
    url: str | None = f"{client.address.base}/tags/list?n={_PAGE}"
    for _ in range(_MOST_PAGES):
        if url is None:
            return sorted(one for one in found if one.startswith(prefix))
        response = client.ask("GET", url, expected=(200, 404))
        if response.status_code == 404:
            return []
        found.update(dict.fromkeys(_tags_in(response, client)))
        url = _next(client, response)
    raise SetupError(f"{client.address.host} lists tags without end", hint="ask who runs the registry")


def _tags_in(response: httpx.Response, client: Client) -> Sequence[str]:
    try:
        listed: Any = json.loads(response.content)["tags"] or []
        return [str(one) for one in listed]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{client.address.host} sent no list of tags: {error!r}", hint="check the address"
        ) from error


def _next(client: Client, response: httpx.Response) -> str | None:
    """Return the URL of the next page, which the registry tells as RFC 5988 says; its own host only."""
    link = response.headers.get("Link", "")
    if 'rel="next"' not in link:
        return None
    url = str(httpx.URL(client.address.base).join(link.partition("<")[2].partition(">")[0]))
    return url if client.same_origin(url) else None

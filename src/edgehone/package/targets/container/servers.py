"""The servers that an image can have, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgehone.package.targets.container import edgehone_server, plain_server
from edgehone.package.targets.container.server import Server

SERVERS: Final[Mapping[str, Server]] = {
    edgehone_server.NAME: edgehone_server,
    plain_server.NAME: plain_server,
}

"""The user's logins at registries, where `docker login`, `podman login` and `skopeo login` keep them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

from edgehone.core.errors import InputError


def login_at(host: str) -> tuple[str, str] | None:
    """Return the user and password for a host; None without a login. Raises InputError if a file of them is broken.

    Logins that a credential helper keeps are not read.
    """
    for path in _files():
        try:
            data = json.loads(path.read_text("utf-8"))
            entry = data.get("auths", {}).get(host, {}).get("auth")
            if entry:
                user, _, password = base64.b64decode(entry, validate=True).decode().partition(":")
                return user, password
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path} with the logins at registries cannot be read: {error}",
                hint=f"log in again: skopeo login {host}",
            ) from error
    return None


def _files() -> Iterator[Path]:
    variable = os.environ.get
    if path := variable("REGISTRY_AUTH_FILE"):
        yield Path(path)
        return
    if folder := variable("XDG_RUNTIME_DIR"):
        yield Path(folder) / "containers" / "auth.json"
    home = Path("~").expanduser()
    yield Path(variable("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    yield Path(variable("DOCKER_CONFIG") or home / ".docker") / "config.json"

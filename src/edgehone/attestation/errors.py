"""The error of a bundle that is refused."""

from __future__ import annotations

from edgehone.core.errors import InputError


class NotVerified(InputError):
    """The bundle is not what its signature or its certificate says, or they are not accepted."""

    exit_code = 1

"""The HTTP status of a request that failed."""

from __future__ import annotations

from edgehone.core.errors import InputError, JobError
from edgehone.serve.admission import Full, TooLate
from edgehone.serve.http import CLIENT_GONE, ClientGone, Refused


def status_of(error: Exception) -> int:
    """Return the status of the answer to a request that failed with this error; 500 for an unexpected one."""
    if isinstance(error, Refused):
        return error.status
    kinds: tuple[tuple[type[Exception], int], ...] = (
        (Full, 429), (TooLate, 504), (InputError, 400), (JobError, 503), (ClientGone, CLIENT_GONE),
    )  # fmt: skip
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)

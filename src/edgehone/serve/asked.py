"""Fields that requests to several APIs share: the name of a model, and texts or ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgehone.serve.http import Refused


def no_model(name: str, served: Iterable[str], field: str | None = None) -> Refused:
    """Return the error for a name under which nothing is served; `field` of the request has it."""
    return Refused(404, f"there is no model {name[:80]!r}; served: {', '.join(served)}", field=field)


def texts_or_ids(
    given: str | Sequence[str | int | list[int]], field: str, most: int
) -> list[str | list[int]]:
    """Return texts, or texts as ids. Raises Refused with the field for none, more than `most`, or a mixture."""
    if isinstance(given, str):
        found: list[str | list[int]] = [given]
    elif given and all(isinstance(one, int) for one in given):
        found = [[one for one in given if isinstance(one, int)]]
    else:
        found = [one for one in given if not isinstance(one, int)]
        if len(found) < len(given) or len({type(one) for one in found}) > 1:
            raise Refused(400, f"{field} is a mixture of texts and ids; give one kind", field=field)
    if not found or not all(found):
        raise Refused(400, f"{field} is empty, or has an empty text", field=field)
    if len(found) > most:
        raise Refused(400, f"{field} has {len(found)} texts; give at most {most}", field=field)
    return found

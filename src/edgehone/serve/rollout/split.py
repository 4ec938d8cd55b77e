"""Which version answers a request to a name, while two are served under it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from edgehone.rollout.decision.assignment import is_challenger, position

if TYPE_CHECKING:
    from edgehone.serve.model import Model
    from edgehone.serve.record import Headers

M = TypeVar("M", bound="Model")
# Of a request that counts for neither version.
UNCOUNTED = ""


@dataclass
class Two:
    """A challenger beside the model of its name, and the share of requests that it answers.

    `sticky` is the name of a header, in lower case, by whose value callers keep their version; `salt` mixes the values.
    `only_keyed`: requests without that header go to the champion, and count for neither.
    """

    challenger: Model
    weight: float = 0.0
    sticky: bytes | None = None
    salt: str = ""
    only_keyed: bool = False


class Split:
    """The challengers by name. Without one, a look-up is all that it costs a request."""

    def __init__(self) -> None:
        self._two: dict[str, Two] = {}

    def add(self, name: str, two: Two) -> None:
        """Serve a challenger under a name, too."""
        self._two[name] = two

    def remove(self, name: str) -> None:
        """Send every further request to the champion."""
        self._two.pop(name, None)

    def of(self, model: M, headers: Headers) -> tuple[M, str]:
        """Return the model that answers a request to `model`, and the id under which the answer counts.

        The champion answers for a challenger whose engine is not ready. `headers` have names in lower case.
        """
        two = self._two.get(model.name)
        if two is None:
            return model, model.id
        key = (
            None
            if two.sticky is None
            else next((value for name, value in headers if name == two.sticky), None)
        )
        if key is None and two.only_keyed:
            return model, UNCOUNTED
        place = random.random() if key is None else position(key.decode("latin-1"), two.salt)
        chosen = is_challenger(place, two.weight) and two.challenger.problem is None
        # The rollout has checked that the challenger is a model of the same kind.
        return (two.challenger, two.challenger.id) if chosen else (model, model.id)  # type: ignore[return-value]

    def challengers(self) -> Iterable[Model]:
        """Return the challengers."""
        return [two.challenger for two in self._two.values()]

"""Which version answers a request to a name while two versions are served under it."""

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
class Challenger:
    """A challenger beside the model of its name, and the share of requests that it answers.

    `sticky` is the name of a header, in lower case, by whose value callers keep their version; `salt` mixes the values.
    `only_keyed`: requests without that header go to the champion, and count for neither.
    """

    model: Model
    weight: float = 0.0
    sticky: bytes | None = None
    salt: str = ""
    only_keyed: bool = False


class Split:
    """The challengers by name. A request to a name without one costs a look-up only."""

    def __init__(self) -> None:
        self._challengers: dict[str, Challenger] = {}

    def add(self, name: str, challenger: Challenger) -> None:
        """Serve a challenger beside the champion of a name."""
        self._challengers[name] = challenger

    def remove(self, name: str) -> None:
        """Send every further request to the champion."""
        self._challengers.pop(name, None)

    def of(self, model: M, headers: Headers) -> tuple[M, str]:
        """Return the model that answers a request to `model`, and the id under which the answer counts.

        The champion answers for a challenger whose engine is not ready. `headers` have names in lower case.
        """
        challenger = self._challengers.get(model.name)
        if challenger is None:
            return model, model.id
        key = (
            None
            if challenger.sticky is None
            else next((value for name, value in headers if name == challenger.sticky), None)
        )
        if key is None and challenger.only_keyed:
            return model, UNCOUNTED
        place = random.random() if key is None else position(key.decode("latin-1"), challenger.salt)
        chosen = is_challenger(place, challenger.weight) and challenger.model.problem is None
        # The rollout has checked that the challenger is a model of the same kind.
        return (challenger.model, challenger.model.id) if chosen else (model, model.id)  # type: ignore[return-value]

    def challengers(self) -> Iterable[Model]:
        """Return the challengers."""
        return [one.model for one in self._challengers.values()]

"""POST /admin/drift/NAME: an operator approves the present traffic, and drift is watched relative to it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from edgehone.serve.admin import PATH, AdminRules, check_operator
from edgehone.serve.drift.observer import DriftObserver
from edgehone.serve.http import Refused, read_json
from edgehone.serve.operations import Operation


class ApproveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/drift/NAME: why the present traffic is right."""

    why: Annotated[str, Meta(min_length=1, max_length=500)]


class AdminDrift:
    """The route, with the operators' key."""

    def __init__(self, observer: DriftObserver, rules: AdminRules) -> None:
        self._observer, self._rules = observer, rules

    def operations(self) -> list[Operation]:
        """Return the operation."""
        answers = {403: "Asked from another machine."}
        path = f"{PATH}/drift/{{name:path}}"
        return [Operation("POST", path, self.approve, body=ApproveRequest, own_key=True, answers=answers)]

    async def approve(self, request: Request) -> Response:
        """Watch for drift from the present traffic on, which an operator has approved."""
        check_operator(request, self._rules.keys)
        asked = await read_json(request, ApproveRequest)
        name = request.path_params["name"]
        try:
            self._observer.approve(name, asked.why)
        except KeyError:
            raise Refused(404, f"no bundle is served under the name {name[:80]!r}", field="name") from None
        return Response(msgspec.json.encode(self._observer.about(name)), media_type="application/json")

"""Change the served bundles while the server runs, with a key of its own and from this machine only."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.attestation.keys import VerificationKey
from edgehone.bundle import read
from edgehone.core.errors import JobError
from edgehone.serve.http import Refused, read_json
from edgehone.serve.keys import check_key
from edgehone.serve.live_models import Busy, Models
from edgehone.serve.model import Model
from edgehone.serve.models import read_served
from edgehone.serve.operations import Operation
from edgehone.serve.served import Limits, Served

PATH = "/admin"
_LONGEST_PATH = 4096


@dataclass(frozen=True)
class AdminRules:
    """The keys of the operators, the limits of the bundles that they add, and by whom these must be signed."""

    keys: Sequence[bytes]
    limits: Limits
    verification: VerificationKey | None = None


class ChangeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/bundles: the folder of a bundle on the server, and the name to serve it under."""

    path: str
    name: str | None = None
    parallel: int | None = None


class Admin:
    """The routes by which an operator changes what is served."""

    def __init__(self, models: Models, rules: AdminRules, say: Callable[[str], None]) -> None:
        self._models, self._rules, self._say = models, rules, say
        self._tasks: set[asyncio.Task[Model]] = set()

    def operations(self) -> list[Operation]:
        """Return the operations, each with a key of its own."""
        bundles, busy = (
            f"{PATH}/bundles",
            {403: "Asked from another machine.", 409: "The name is being changed."},
        )
        refused = {**busy, 422: "The bundle does not load, or is not proven."}
        return [
            Operation("GET", bundles, self.bundles, own_key=True, answers=busy),
            Operation("POST", bundles, self.change, body=ChangeRequest, own_key=True, answers=refused),
            Operation("DELETE", f"{bundles}/{{name}}", self.remove, own_key=True, answers=busy),
        ]

    async def bundles(self, request: Request) -> Response:
        """Return what is served, and what is being changed."""
        self._check(request)
        served = [described(model) for model in self._models.by_name.values()]
        return _json({"bundles": served, "changing": list(self._models.changing)})

    async def change(self, request: Request) -> Response:
        """Serve a bundle, in the place of the one that has its name. Answers when the requests go to it.

        A client that leaves does not stop the change.
        """
        self._check(request)
        asked = await read_json(request, ChangeRequest)
        limits = self._rules.limits
        places = limits.places if asked.parallel is None else asked.parallel
        if len(asked.path) > _LONGEST_PATH:
            raise Refused(
                400, f"path has {len(asked.path)} characters, more than {_LONGEST_PATH}", field="path"
            )
        name = Path(asked.path).resolve().name if asked.name is None else asked.name
        if not name or "/" in name or name in (".", ".."):
            raise Refused(400, f"name is {name[:80]!r}; give a name without a slash", field="name")
        if not 1 <= places <= 1024:
            raise Refused(400, f"parallel is {places}; give a number from 1 to 1024", field="parallel")

        def read_it() -> Served:
            own = replace(limits, places=places)
            return read_served(read(asked.path), name, own, self._say, self._rules.verification)

        task = asyncio.create_task(self._models.change(name, read_it))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        try:
            model = await asyncio.shield(task)
        except Busy as error:
            raise Refused(409, error.message, field="name") from None
        except JobError as error:
            raise Refused(422, f"{asked.path} is not served: {error.message}", field="path") from None
        return _json(described(model))

    async def remove(self, request: Request) -> Response:
        """Serve a bundle no longer."""
        self._check(request)
        name = request.path_params["name"]
        try:
            self._models.remove(name)
        except KeyError:
            raise Refused(404, f"no bundle is served under the name {name[:80]!r}", field="name") from None
        except Busy as error:
            raise Refused(409, error.message, field="name") from None
        return _json({"removed": name})

    def _finished(self, task: asyncio.Task[Model]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._say(f"a bundle is not served: {error}")

    def _check(self, request: Request) -> None:
        host = request.client.host if request.client else ""
        try:
            local = ipaddress.ip_address(host).is_loopback
        except ValueError:
            local = False
        if not local:
            raise Refused(403, f"{PATH} answers on the machine of the server only")
        check_key(request.headers.get("authorization", ""), self._rules.keys)


def described(model: Model) -> dict[str, Any]:
    """Return what an operator is told of a model."""
    proven = model.engine.proof
    return {
        "name": model.name,
        "path": str(model.served.bundle.path),
        "manifest": model.served.bundle.manifest.digest,
        "certificate": model.served.certificate,
        "signed_by": model.served.trusted.verified.signed_by if model.served.trusted else None,
        "state": "unloaded" if model.unloaded else "not ready" if model.problem else "ready",
        "problem": model.problem,
        "proof": str(proven) if proven else None,
        "waiting": model.admission.waiting,
        "running": model.admission.running,
        "restarts": model.engine.restarts,
    }


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")

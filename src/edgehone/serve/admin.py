"""Change the served bundles while the server runs, with a key of its own and from this machine only."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.attestation.keys import VerificationKey
from edgehone.bundle import Bundle, read
from edgehone.core.errors import JobError
from edgehone.device.detect import detect
from edgehone.serve.http import Refused, read_json
from edgehone.serve.keys import check_key
from edgehone.serve.lease import Lease
from edgehone.serve.live_models import Busy, Models
from edgehone.serve.model import Model
from edgehone.serve.models import read_served
from edgehone.serve.operations import Operation
from edgehone.serve.runtime import accepted
from edgehone.serve.served import Limits, Served

PATH = "/admin"
# Headers by which a reverse proxy names the client of a request.
_PASSED_ON = {"forwarded", "x-forwarded-for"}
_LONGEST_PATH = 4096


@dataclass(frozen=True)
class AdminRules:
    """The keys of the operators, the limits of the bundles that they add, and by whom these must be signed."""

    keys: Sequence[bytes]
    limits: Limits
    verification: VerificationKey | None = None


class ChangeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/bundles: the folder of a bundle on the server, and the name to serve it under.

    The others say how: the requests at once, runtime settings in the place of the recipe's, the longest context, the
    samples of a batch and the milliseconds that one waits for others; None as the server was started. With `keep` it is
    never unloaded. With `expected`, the id of the model that has the name, nothing is changed if another has it by
    then.
    """

    path: str
    name: str | None = None
    parallel: int | None = None
    settings: dict[str, bool | int | float | str] = {}
    context: int | None = None
    batch: int | None = None
    batch_delay: float | None = None
    keep: bool = False
    expected: str | None = None


class OperatorRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/operator: the id of a program that operates the server, and for how many seconds more."""

    id: str
    seconds: float


# The smallest and the largest value of what a change may ask for.
_BOUNDS = {"parallel": (1, 1024), "context": (16, 1 << 24), "batch": (1, 65_536), "batch_delay": (0, 1000)}
_LONGEST_LEASE = 3600.0


class Admin:
    """The routes by which an operator changes the served bundles."""

    def __init__(self, models: Models, rules: AdminRules, say: Callable[[str], None]) -> None:
        self._models, self._rules, self._say = models, rules, say
        self._tasks: set[asyncio.Task[Model]] = set()
        self._lease = Lease()
        self._id = secrets.token_hex(6)  # of this run of the server

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
            Operation(
                "POST",
                f"{PATH}/operator",
                self.operate,
                body=OperatorRequest,
                own_key=True,
                answers={**busy, 409: "Another program operates the server."},
            ),
        ]

    async def bundles(self, request: Request) -> Response:
        """Return what is served, and what is being changed."""
        self._check(request)
        served, changing = list(self._models.by_name.values()), list(self._models.changing)

        def told() -> dict[str, Any]:
            found = [described(model) for model in served]
            return {"bundles": found, "changing": changing, "server": self._server()}

        return _json(await asyncio.to_thread(told))

    async def operate(self, request: Request) -> Response:
        """Take, renew or give back (0 s) the right to operate the server, which one program has at a time."""
        self._check(request)
        asked = await read_json(request, OperatorRequest)
        if not asked.id or len(asked.id) > 80:
            raise Refused(400, f"id is {asked.id[:80]!r}; give a name of 1 to 80 characters", field="id")
        if not 0 <= asked.seconds <= _LONGEST_LEASE:
            raise Refused(400, f"seconds is {asked.seconds}; give 0 to {_LONGEST_LEASE:.0f}", field="seconds")
        if not self._lease.take(asked.id, asked.seconds):
            raise Refused(409, f"{self._lease.holder} operates this server already", field="id")
        return _json({"id": asked.id, "seconds": asked.seconds})

    async def change(self, request: Request) -> Response:
        """Serve a bundle, in the place of the one that has its name. Answers when the requests go to it.

        A client that leaves does not stop the change.
        """
        self._check(request)
        asked = await read_json(request, ChangeRequest)
        limits = _limits(self._rules.limits, asked)
        if len(asked.path) > _LONGEST_PATH:
            raise Refused(
                400, f"path has {len(asked.path)} characters, more than {_LONGEST_PATH}", field="path"
            )
        name = Path(asked.path).resolve().name if asked.name is None else asked.name
        if not name or "/" in name or name in (".", ".."):
            raise Refused(400, f"name is {name[:80]!r}; give a name without a slash", field="name")

        def read_it() -> Served:
            return read_served(read(asked.path), name, limits, self._say, self._rules.verification)

        task = asyncio.create_task(self._models.change(name, read_it, asked.expected))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        try:
            model = await asyncio.shield(task)
        except Busy as error:
            raise Refused(409, error.message, field="name") from None
        except JobError as error:
            raise Refused(422, f"{asked.path} is not served: {error.message}", field="path") from None
        return _json(await asyncio.to_thread(described, model))

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

    def _server(self) -> dict[str, Any]:
        machine = detect()
        return {
            "id": self._id,
            "process": os.getpid(),
            "threads": machine.threads,
            "physical_cores": machine.physical_cores,
            "logical_cores": machine.logical_cores,
            "unload_after": self._models.unload_after,
            "operator": self._lease.holder,
        }

    def _finished(self, task: asyncio.Task[Model]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._say(f"a bundle is not served: {error}")

    def _check(self, request: Request) -> None:
        check_operator(request, self._rules.keys)


def check_operator(request: Request, keys: Sequence[bytes]) -> None:
    """Raise Refused unless a request comes from this machine (403) and has an operator's key (401).

    One that a reverse proxy on this machine passes on comes from elsewhere.
    """
    host = request.client.host if request.client else ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local or _PASSED_ON & set(request.headers):
        raise Refused(403, f"{PATH} answers on the machine of the server only")
    check_key(request.headers.get("authorization", ""), keys)


def _limits(default: Limits, asked: ChangeRequest) -> Limits:
    for name, (least, most) in _BOUNDS.items():
        value = getattr(asked, name)
        if value is not None and not least <= value <= most:
            raise Refused(400, f"{name} is {value}; give a number from {least} to {most}", field=name)
    return replace(
        default,
        places=default.places if asked.parallel is None else asked.parallel,
        context=default.context if asked.context is None else asked.context,
        batch=default.batch if asked.batch is None else asked.batch,
        delay=default.delay if asked.batch_delay is None else asked.batch_delay / 1000,
        settings={**default.settings, **asked.settings},
        keep=asked.keep,
    )


def described(model: Model) -> dict[str, Any]:
    """Return a model's facts for operators. `change` is the body of POST /admin/bundles that serves it again."""
    proven, limits, bundle = model.engine.proof, model.served.limits, model.served.bundle
    change = {
        "path": str(bundle.path.absolute()),
        "name": model.name,
        "parallel": limits.places,
        "settings": dict(limits.settings),
        "context": limits.context,
        "batch": limits.batch,
        "batch_delay": limits.delay * 1000,
        "keep": limits.keep,
    }
    return {
        "name": model.name,
        "id": model.id,
        "change": change,
        "backend": bundle.manifest.recipe["backend"],
        "kind": bundle.manifest.kind,
        "settings": dict(model.served.settings),
        "accepts": {name: [*values] for name, values in accepted(bundle).items()},
        "threads": model.served.engine.threads,
        "proven_threads": _proven_threads(bundle),
        "places": model.served.places,
        "context": getattr(model.engine, "context", None),
        "cache": getattr(model.engine, "cache", None),
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
        "ended": model.engine.ended,
    }


def _proven_threads(bundle: Bundle) -> int | None:
    """Return the threads with which a bundle was measured if that was on this machine; else None."""
    made_on, settings = bundle.manifest.device, bundle.manifest.recipe["settings"]
    if made_on.get("fingerprint") != detect().fingerprint:
        return None
    return int(settings.get("threads") or made_on["threads"])


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")

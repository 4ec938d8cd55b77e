"""The routes by which operators roll out: /admin/rollouts."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.core.errors import InputError, JobError, SetupError
from edgehone.rollout.decision.plan import Plan, Version
from edgehone.rollout.decision.rules import strategy_of, with_entries
from edgehone.rollout.decision.store import TwoRollouts
from edgehone.serve.admin import PATH, AdminRules, check_operator
from edgehone.serve.http import Refused, read_json
from edgehone.serve.live_models import Busy
from edgehone.serve.operations import Operation
from edgehone.serve.rollout.rollouts import Rollouts

ROLLOUTS = f"{PATH}/rollouts"


class RolloutRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /admin/rollouts: the name of what is served, and the folder of the bundle to replace it.

    `label` is what people call it, `sticky` the header by whose value callers keep their version, `metric` that of an
    A/B test. `rules` replace entries of the rules that ship. `other_model`: it may be built from another model.
    """

    name: str
    path: str
    strategy: str = "ramp"
    label: str = ""
    sticky: str | None = None
    metric: Literal["latency", "errors", "confidence", "feedback"] = "latency"
    rules: dict[str, Any] = {}
    other_model: bool = False
    by: str = ""
    why: str = ""


class RolloutRoutes:
    """The routes over the rollouts of a server."""

    def __init__(self, rollouts: Rollouts, rules: AdminRules) -> None:
        self._rollouts, self._rules = rollouts, rules
        self._tasks: set[asyncio.Task[Any]] = set()

    def operations(self) -> list[Operation]:
        """Return the operations, each with a key of its own."""
        busy = {403: "Asked from another machine.", 409: "The name is being changed."}
        refused = {**busy, 422: "The challenger does not load, or is not proven."}
        return [
            Operation("GET", ROLLOUTS, self.all, own_key=True, answers=busy),
            Operation("POST", ROLLOUTS, self.start, body=RolloutRequest, own_key=True, answers=refused),
            Operation("POST", f"{ROLLOUTS}/{{name}}/{{action}}", self.act, own_key=True, answers=busy),
        ]

    async def all(self, request: Request) -> Response:
        """Return the rollouts of this server, with figures of those under way."""
        check_operator(request, self._rules.keys)
        return _json({"rollouts": self._rollouts.all()})

    async def start(self, request: Request) -> Response:
        """Begin a rollout. Answers when the challenger is loaded and proven; a client that leaves does not stop it."""
        check_operator(request, self._rules.keys)
        asked = await read_json(request, RolloutRequest)
        task = asyncio.create_task(self._rollouts.start(_plan(asked), other_model=asked.other_model))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        try:
            return _json(await asyncio.shield(task))
        except (Busy, TwoRollouts) as error:
            raise Refused(409, error.message, field="name") from None
        except SetupError as error:
            raise Refused(422, error.message) from None
        except JobError as error:
            raise Refused(422, f"{asked.path} is not served: {error.message}", field="path") from None

    async def act(self, request: Request) -> Response:
        """Pause, resume or abort a rollout. Aborting sends every request to the champion at once."""
        check_operator(request, self._rules.keys)
        name, action = request.path_params["name"], request.path_params["action"]
        if action not in ("pause", "resume", "abort"):
            raise Refused(404, f"{action[:40]!r} is no action: pause, resume or abort")
        running = self._rollouts.running(name)
        if running is None or running.ended.is_set():
            raise Refused(404, f"no rollout of {name[:80]!r} is under way", field="name")
        if action == "abort":
            running.end("aborted", "an operator has aborted it")
        elif (action == "pause") == (running.status == "paused"):
            raise Refused(409, f"the rollout of {name[:80]!r} is {running.status} already", field="name")
        elif action == "pause":
            running.pause()
        else:
            running.resume()
        return _json(self._rollouts.told(running.plan.id))

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a client that stayed was told


def _plan(asked: RolloutRequest) -> Plan:
    """Return the plan of a request. Raises InputError."""
    strategy = strategy_of(asked.strategy)
    if strategy == "ab" and not asked.sticky:
        raise InputError(
            "an A/B test needs a header by which callers keep their version", hint="--sticky X-User"
        )
    rules = with_entries(asked.rules, "rules")
    return Plan(
        "", asked.name, strategy, Version("", ""), Version(asked.path, "", asked.label or asked.path), rules.table,
        asked.sticky, asked.metric, asked.by, asked.why,
    )  # fmt: skip


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")

"""GET /admin/watch: all facts about the models and the machine, for operators of the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.serve.admin import PATH, AdminRules, check_operator
from edgehone.serve.measured.processes import by_part
from edgehone.serve.model import Model
from edgehone.serve.operations import Operation
from edgehone.serve.watching import Watching


class AdminWatch:
    """The route over the models by name. It asks no engine."""

    def __init__(self, models: Mapping[str, Model], watching: Watching, rules: AdminRules) -> None:
        self._models, self._watching, self._rules = models, watching, rules

    def operations(self) -> list[Operation]:
        """Return the operation, with a key of its own."""
        answers = {403: "Asked from another machine."}
        return [Operation("GET", f"{PATH}/watch", self.watch, own_key=True, answers=answers)]

    async def watch(self, request: Request) -> Response:
        """Return the state of each model, with the facts of its watchers, and of the machine."""
        check_operator(request, self._rules.keys)
        await self._watching.now()
        models = {name: self._described(model) for name, model in self._models.items()}
        body = {"models": models, "machine": self._machine()}
        return Response(msgspec.json.encode(body), media_type="application/json")

    def _described(self, model: Model) -> dict[str, Any]:
        served = model.served
        told = {name: about(model.name) for name, about in self._watching.about.items()}
        return {
            "path": str(served.bundle.path),
            "certificate": served.certificate,
            "problem": model.problem,
            "unloaded": model.unloaded,
            "settings": served.engine.args.get("settings", {}),
            "parallel": served.places,
            "waiting": model.admission.waiting,
            "running": model.admission.running,
            "restarts": model.engine.restarts,
            **told,
        }

    def _machine(self) -> dict[str, Any]:
        readings = self._watching.readings
        energy = {"energy_joules": readings.joules}
        told = msgspec.to_builtins(readings.machine)
        return {**told, **energy, "resident_memory_bytes": by_part(readings.processes)}

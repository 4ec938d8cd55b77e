"""Run the web server: listen, serve, and drain when the process is told to end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from edgehone.bundle.read import read
from edgehone.core.errors import JobError, SetupError
from edgehone.execution.time_slice import shorten_slice
from edgehone.serve.alerts import Alerts, Make
from edgehone.serve.app import answering, build
from edgehone.serve.application import Application
from edgehone.serve.bounded import counted
from edgehone.serve.drift.observer import DriftObserver
from edgehone.serve.drift.watching import Rules as Drift
from edgehone.serve.drift.watching import add_drift
from edgehone.serve.listening import BACKLOG, Listening
from edgehone.serve.live_models import Models
from edgehone.serve.measured.otlp import sender
from edgehone.serve.model import Model
from edgehone.serve.models import read_served
from edgehone.serve.notify import tell_ready
from edgehone.serve.operations import Operation
from edgehone.serve.served import Limits, Served
from edgehone.serve.takeover import LINGER_SECONDS, take_connections
from edgehone.serve.watching import Watching, WatchRules, watch

if TYPE_CHECKING:
    from edgehone.serve.admin import Admin, AdminRules
    from edgehone.serve.infer.grpc.server import GrpcServer
    from edgehone.serve.rollout.rollouts import Rollouts

_IDLE_SECONDS = 75
# A second signal is noticed within so many seconds.
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Running:
    """After how many idle seconds models are unloaded (None: never), and by whom they can be changed (None: nobody).

    `watched` says what is measured, `state` is the folder for what is kept, `drift` how drift is watched, `alerts`
    makes the alerts that are evaluated (None: none are).
    """

    unload_after: float | None
    admin: AdminRules | None
    watched: WatchRules
    state: Path
    drift: Drift = field(default_factory=Drift)
    alerts: Make | None = None


async def serve(
    served: Sequence[Served],
    listening: Listening,
    bound: socket.socket,
    running: Running,
    say: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C. Requests that were accepted are then answered, and no further ones accepted.

    Raises JobError if the server is to take a port over and a model does not get ready.
    """
    shorten_slice()
    models = Models(running.unload_after, say)
    watching = watch(models.by_name.values(), running.watched, running.state, say)
    host, port = bound.getsockname()[:2]
    if sending := sender(running.watched.otlp, host, port, say):
        watching.observers.add(sending)
        watching.at_end.append(sending.end)
    drift = add_drift(watching, models.by_name, running.drift)
    if running.alerts:
        alerts = Alerts(models.by_name, watching, running.alerts)
        watching.operations.extend(alerts.operations())
        watching.background.append(alerts.run)
    admin = _admin(models, running.admin, say) if running.admin else None
    also = list(_operators(models, watching, drift, running.admin)) if running.admin else []
    rollouts = _rollouts(models, watching, running.admin, also) if running.admin else None
    first = _First(models)
    application = build(
        models,
        served,
        listening.keys,
        admin,
        watching,
        also,
        is_local=listening.is_local,
        started=first.wait if listening.take_over else None,
    )
    wrapped = rollouts.shadows.wrap(application) if rollouts else application
    config = _config(wrapped, listening, watching.metrics.refused_status)
    grpc = await _serve_grpc(models, watching, listening, say) if listening.grpc_port is not None else None
    server = _Server(config, grpc, LINGER_SECONDS if listening.take_over else 0.0)
    telling = asyncio.create_task(_tell_ready(server, models, bound if listening.take_over else None))
    try:
        await server.serve(sockets=[bound])
    except SystemExit:  # as uvicorn ends when the application does not start
        if first.problem:
            raise first.problem from None
        raise
    finally:
        telling.cancel()


def _config(application: ASGIApp, listening: Listening, refused: Callable[[int], None]) -> uvicorn.Config:
    """Return uvicorn's settings. `refused` is called with the status of each request that a connection refuses."""
    return uvicorn.Config(
        application,
        http=counted(refused),
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,  # no decision depends on the client of a proxy but `check_operator`, which looks itself
        timeout_keep_alive=_IDLE_SECONDS,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.private_key,
        backlog=BACKLOG,
    )


async def _tell_ready(server: _Server, models: Models, taking: socket.socket | None) -> None:
    """Tell who started the server when connections are accepted and every model is ready.

    `taking` is the socket that takes the connections of another server.
    """
    while not server.started or any(model.problem for model in models.by_name.values()):
        await asyncio.sleep(_LOOK_SECONDS)
    if taking is not None:
        take_connections(taking)
    tell_ready()


class _First:
    """Waits for the models before connections are accepted; `problem` says why one did not get ready."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self.problem: JobError | None = None

    async def wait(self) -> None:
        try:
            await self._models.opened()
        except JobError as error:
            self.problem = error
            raise


def _admin(models: Models, rules: AdminRules, say: Callable[[str], None]) -> Admin:
    """Return the routes of operators. What only they need is not imported without their keys."""
    from edgehone.serve.admin import Admin

    return Admin(models, rules, say)


def _operators(
    models: Models, watching: Watching, drift: DriftObserver, rules: AdminRules
) -> Sequence[Operation]:
    """Return the operations beside those that change bundles."""
    from edgehone.serve.admin_watch import AdminWatch
    from edgehone.serve.drift.admin import AdminDrift

    return [
        *AdminWatch(models.by_name, watching, rules).operations(),
        *AdminDrift(drift, rules).operations(),
    ]


def _rollouts(
    models: Models, watching: Watching, rules: AdminRules, also: list[Operation]
) -> Rollouts | None:
    """Return the rollouts of the server, which go on in the background, and add their operations to `also`.

    None, said once, if they cannot be stored.
    """
    from edgehone.serve.rollout.rollouts import Rollouts
    from edgehone.serve.rollout.routes import RolloutRoutes

    def read_it(path: str, name: str, limits: Limits) -> Served:
        return read_served(read(path), name, limits, watching.say, rules.verification)

    def answers(by_name: Mapping[str, Model]) -> Application:
        return answering(by_name, watching.aside())

    try:
        rollouts = Rollouts(models, watching.split, watching.state, read_it, answers, watching.say)
    except SetupError as error:
        watching.say(f"warning: there are no rollouts: {error.message}")
        return None
    watching.observers.add(rollouts)
    watching.background.append(rollouts.run)
    also += RolloutRoutes(rollouts, rules).operations()
    return rollouts


async def _serve_grpc(
    models: Models, watching: Watching, listening: Listening, say: Callable[[str], None]
) -> GrpcServer:
    from edgehone.serve.infer.grpc.server import GrpcServer

    server = GrpcServer(models, watching, listening.keys)
    assert listening.grpc_port is not None
    port = await server.start(
        listening.host, listening.grpc_port, listening.certificate, listening.private_key
    )
    say(f"gRPC on {listening.host} port {port}")
    return server


class _Server(uvicorn.Server):
    """uvicorn's server, which ends with exit code 0 after a signal that asks for it, and at once after a second one.

    A gRPC server beside it ends first, while the engines still run. For `linger` seconds the server goes on after it
    was told to end, so that connections that were given to it can send their requests.
    """

    def __init__(self, config: uvicorn.Config, grpc: GrpcServer | None, linger: float) -> None:
        super().__init__(config)
        self._grpc, self._linger = grpc, linger

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let accepted requests end, then end the engines."""
        if self._linger and not self.force_exit:
            await asyncio.sleep(self._linger)
        if self._grpc:
            for server in self.servers:
                server.close()  # neither way accepts a further request
            ending = asyncio.create_task(self._grpc.end())
            while not ending.done() and not self.force_exit:
                await asyncio.wait([ending], timeout=_LOOK_SECONDS)
        await super().shutdown(sockets)
        if self.force_exit and not self.lifespan.shutdown_event.is_set():
            await self.lifespan.shutdown()  # uvicorn leaves it out after a second signal

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain; uvicorn's own method also keeps the signal, and raises it again at the end."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

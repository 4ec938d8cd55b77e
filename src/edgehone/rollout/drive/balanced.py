"""Rollouts over HAProxy: begin one, go on with one whose driver ended, and ask the driver of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgehone.core.errors import InputError, SetupError
from edgehone.execution.home import file_lock
from edgehone.monitor.exposition import samples
from edgehone.operate.server import Declined, Server
from edgehone.rollout.decision.plan import Plan, Progress, Version
from edgehone.rollout.decision.rules import of_table
from edgehone.rollout.decision.store import Store, Stored, described
from edgehone.rollout.drive.driver import Asked, Driver, Servers, send_back
from edgehone.rollout.drive.haproxy import balancer

_LOCK = "driver.lock"
Say = Callable[[str], None]


def named_servers(given: Sequence[str], option: str) -> dict[str, str]:
    """Return the URLs of servers by their names in HAProxy, from NAME=URL. Raises InputError."""
    found: dict[str, str] = {}
    for one in given:
        name, equals, url = one.partition("=")
        if not equals or name in found:
            raise InputError(
                f"{option} {one!r} is no NAME=URL of its own", hint=f"{option} blue=http://127.0.0.1:8080"
            )
        found[name] = url
    return found


def begin(folder: Path, plan: Plan, say: Say, ended: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Begin a rollout and drive it to its end. Returns it.

    Raises InputError for wrong servers, TwoRollouts if one is open, Lost if HAProxy does not answer.
    """
    try:
        with _driving(folder) as store:
            servers = _servers(plan)
            driver = Driver(plan, Progress(), servers, store, say)
            _check(plan.name, servers)
            servers.balancer.check()
            store.begin(plan, Progress())
            driver.run(ended)
            return told(store, plan.id)
    except BlockingIOError as error:
        raise InputError(
            f"another rollout is driven with the state in {folder}",
            hint="wait for it, or give this one another folder: --state DIR",
        ) from error


def go_on(folder: Path, name: str, say: Say, ended: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Go on with a rollout: ask its driver to resume it, or drive it, if its driver has ended. Returns it."""
    try:
        with _driving(folder) as store:
            one = _open(store, name)
            rules = of_table(one.plan.rules)
            progress = replace(one.progress, interruptions=one.progress.interruptions + 1, status="running")
            servers = _servers(one.plan)
            if progress.interruptions > rules.most_interruptions:
                send_back(servers.balancer, store, one.plan.id, progress)
            else:
                Driver(one.plan, progress, servers, store, say).run(ended)
            return told(store, one.plan.id)
    except BlockingIOError:
        return ask(folder, name, "resume")


def ask(folder: Path, name: str, action: str) -> dict[str, Any]:
    """Ask the driver of a rollout to pause, resume or abort it; abort one whose driver has ended. Returns it."""
    try:
        with _driving(folder) as store:
            one = _open(store, name)
            if action != "abort":
                raise InputError(
                    f"the driver of {name} has ended, and the champion answers", hint=_resume(name)
                )
            send_back(_servers(one.plan).balancer, store, one.plan.id, one.progress)
            return told(store, one.plan.id)
    except BlockingIOError:
        store = Store(folder)
        try:
            one = _open(store, name)
            store.wish(one.plan.id, action)
            return told(store, one.plan.id)
        finally:
            store.close()


def rollouts(folder: Path, name: str | None = None) -> list[dict[str, Any]]:
    """Return all rollouts, or those of a name, the first one first."""
    store = Store(folder)
    try:
        return [
            described(one, store.events(one.plan.id)) for one in store.all() if name in (None, one.plan.name)
        ]
    finally:
        store.close()


def told(store: Store, number: str) -> dict[str, Any]:
    """Return a rollout."""
    return next(described(one, store.events(number)) for one in store.all() if one.plan.id == number)


def version(servers: Mapping[str, str], label: str) -> Version:
    """Return servers as a version of a plan."""
    return Version(",".join(f"{name}={url}" for name, url in servers.items()), "", label)


@contextmanager
def _driving(folder: Path) -> Iterator[Store]:
    """Give the store to the only process that drives. Raises BlockingIOError if another one does."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file_lock(folder / _LOCK, wait=False):
        store = Store(folder)
        try:
            yield store
        finally:
            store.close()


def _servers(plan: Plan) -> Servers:
    urls = [named_servers(one.path.split(","), "--champion") for one in (plan.champion, plan.challenger)]
    champion, challenger = ({name: Server(url, None) for name, url in one.items()} for one in urls)
    return Servers(balancer(plan.balancer, [*champion], [*challenger]), champion, challenger)


def _check(name: str, servers: Servers) -> None:
    """Raise InputError unless every server serves the name, is ready, and has the API of the others."""
    apis: dict[str, Any] = {}
    for at, one in (*servers.champion.items(), *servers.challenger.items()):
        text = one.metrics()
        if text is None:
            raise InputError(f"{at} does not answer at /metrics", hint="start it: edgehone serve BUNDLE")
        ready = {dict(labels)["model"]: value for _, labels, value in samples(text, ("edgehone_ready",))}
        if not ready.get(name):
            served = ", ".join(ready) or "nothing"
            raise InputError(f"{at} does not serve {name!r}, or is not ready; it serves {served}")
        if (api := _api(one, name)) is not None:
            apis[at] = api
    for first, second in pairwise(apis):
        if apis[first] != apis[second]:
            raise InputError(
                f"{name!r} has another API at {second} ({apis[second]}) than at {first} ({apis[first]})",
                hint="a challenger has the API of the champion: look at --champion and --challenger",
            )


def _api(server: Asked, name: str) -> str | None:
    """Return what a server says of a graph's inputs and outputs, and that it is none for other models.

    None if it does not say it without a key of its API.
    """
    try:
        told = server.told("GET", f"/v2/models/{quote(name, safe='')}")
    except Declined as declined:
        return "no tensors" if declined.status in (400, 404) else None
    except SetupError:
        return None
    return f"inputs {told['inputs']}, outputs {told['outputs']}"


def _open(store: Store, name: str) -> Stored:
    found = next((one for one in store.all(only_open=True) if one.plan.name == name), None)
    if found is None:
        raise InputError(
            f"no rollout of {name!r} is under way", hint="edgehone rollout history --to haproxy:…"
        )
    return found


def _resume(name: str) -> str:
    return f"edgehone rollout resume {name} --to haproxy:…"

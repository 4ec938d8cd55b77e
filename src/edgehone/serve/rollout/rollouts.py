"""The rollouts of a server: start them, list them, and resume those that a crash interrupted."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.core.errors import EdgehoneError, InputError, SetupError
from edgehone.rollout.decision.plan import Plan, Progress, Version
from edgehone.rollout.decision.rules import of_table
from edgehone.rollout.decision.store import Store, described
from edgehone.serve.live_models import Models
from edgehone.serve.model import Model
from edgehone.serve.models import model_of
from edgehone.serve.observation import Feedback, Observation
from edgehone.serve.record import Record
from edgehone.serve.rollout.copies import Exchange
from edgehone.serve.rollout.running import Controls, Running
from edgehone.serve.rollout.shadows import Answering, Shadows
from edgehone.serve.rollout.split import Split
from edgehone.serve.rollout.start import check_memory, check_same_api
from edgehone.serve.served import Limits, Served

Read = Callable[[str, str, Limits], Served]  # of a bundle's folder, the name, and limits


class Rollouts:
    """An observer that controls each request to the rollout of its name."""

    def __init__(
        self,
        models: Models,
        split: Split,
        folder: Path,
        read: Read,
        answering: Answering,
        say: Callable[[str], None],
    ) -> None:
        """`folder` is that of the state, `read` reads a challenger's bundle.

        `answering` makes an application that answers requests to models.
        """
        self.store = Store(folder)
        self.shadows = Shadows(answering)
        self._models, self._split, self._read, self._say = models, split, read, say
        self._running: dict[str, Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def observe(self, seen: Observation) -> None:
        """Take a request."""
        if running := self._running.get(seen.model):
            running.observe(seen)

    def feedback(self, seen: Feedback) -> None:
        """Take a client's feedback on an answer."""
        if running := self._running.get(seen.model):
            running.feedback(seen)

    async def start(self, plan: Plan, *, other_model: bool) -> dict[str, Any]:
        """Load and prove the challenger beside the champion, and begin. Returns the rollout.

        Raises InputError for a challenger that cannot replace the champion, Busy if the name is changing, JobError if
        it does not load or is not proven, and SetupError if the state cannot be written.
        """
        champion = self._models.by_name.get(plan.name)
        if champion is None:
            raise InputError(
                f"no bundle is served under the name {plan.name[:80]!r}; served: {', '.join(self._models.by_name)}"
            )
        self._models.reserve(plan.name)
        try:
            await champion.load()
            if champion.problem:
                raise InputError(
                    f"{plan.name} is not ready, so nothing can be compared with it: {champion.problem}"
                )
            served = await asyncio.to_thread(self._checked, plan, champion, other_model=other_model)
            plan = replace(
                plan,
                id=plan.id or secrets.token_hex(6),
                champion=Version(
                    str(champion.served.bundle.path.absolute()), champion.served.bundle.manifest.digest
                ),
                challenger=replace(plan.challenger, manifest=served.bundle.manifest.digest),
            )
            self.store.begin(plan, Progress())
            try:
                await self._open(plan, Progress(), champion, served)
            except Exception as error:
                self._ended(plan, Progress(), error)
                raise
            return self.told(plan.id)
        except BaseException:
            if plan.name not in self._running:
                self._models.release(plan.name)
            raise

    async def run(self) -> None:
        """Resume interrupted rollouts, and end everything when the server ends."""
        try:
            await self.take_up()
            await asyncio.Event().wait()
        finally:
            await self.end()

    async def take_up(self) -> None:
        """Go on with the rollouts that the last run of the server has left open, or end them with the champion."""
        for one in self.store.all(only_open=True):
            progress = replace(one.progress, interruptions=one.progress.interruptions + 1)
            try:
                await self._go_on(one.plan, progress)
            except Exception as error:  # noqa: BLE001 - whatever fails, the champion must serve
                self._ended(one.plan, progress, error)

    async def _go_on(self, plan: Plan, progress: Progress) -> None:
        """Go on with an interrupted rollout. Raises EdgehoneError if that is not possible."""
        self.store.save(plan.id, progress, ("interrupted", "the server ended"))
        if progress.interruptions > of_table(plan.rules).most_interruptions:
            raise InputError(f"the server ended {progress.interruptions} times during the rollout")
        champion = self._models.by_name.get(plan.name)
        if champion is None or champion.served.bundle.manifest.digest != plan.champion.manifest:
            raise InputError(f"{plan.name} is no longer served by the bundle that the rollout began with")
        self._models.reserve(plan.name)
        try:
            await champion.opened()
            served = await asyncio.to_thread(self._checked, plan, champion, other_model=True)
            await self._open(plan, progress, champion, served)
        except BaseException:
            self._models.release(plan.name)
            raise

    def running(self, name: str) -> Running | None:
        """Return the rollout of a name that is under way."""
        return self._running.get(name)

    def told(self, number: str) -> dict[str, Any]:
        """Return a rollout by its id."""
        return next(one for one in self.all() if one["id"] == number)

    def all(self) -> list[dict[str, Any]]:
        """Return all rollouts, the first one first, with figures of those that run."""
        found = []
        for one in self.store.all():
            told = described(one, self.store.events(one.plan.id))
            if (running := self._running.get(one.plan.name)) and running.plan.id == one.plan.id:
                told |= running.told()
            found.append(told)
        return found

    async def end(self) -> None:
        """Leave open rollouts on disk and end their challengers, since the server ends."""
        for running in list(self._running.values()):
            try:
                running.interrupt()
            except SetupError as error:
                self._say(f"warning: {error.message}")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.shadows.close()
        for running in list(self._running.values()):
            self._split.remove(running.plan.name)
            await running.challenger.end()
        self.store.close()

    def _checked(self, plan: Plan, champion: Model, *, other_model: bool) -> Served:
        served = self._read(plan.challenger.path, plan.name, champion.served.limits)
        if plan.challenger.manifest and plan.challenger.manifest != served.bundle.manifest.digest:
            raise InputError(f"{plan.challenger.path} is no longer the bundle that the rollout began with")
        check_same_api(champion.served, served, other_model=other_model)
        check_memory(champion.served, served, [one for ids in champion.processes.values() for one in ids])
        return served

    async def _open(self, plan: Plan, progress: Progress, champion: Model, served: Served) -> None:
        """Load the challenger, and begin or go on."""
        challenger = model_of(served, self._say)
        challenger.start()
        try:
            await challenger.opened()
            running = Running(
                plan,
                progress,
                champion,
                challenger,
                self._split,
                self.store,
                self._controls(plan, challenger),
            )
            self._running[plan.name] = running
            running.begin()
        except BaseException:
            self._running.pop(plan.name, None)
            self._split.remove(plan.name)
            self.shadows.end(plan.name)
            await challenger.end()
            raise
        task = asyncio.create_task(self._run(running))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, running: Running) -> None:
        try:
            await running.run()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever fails, the champion must serve
            running.end("aborted", _reason(error))
        await running.written()
        self._running.pop(running.plan.name, None)
        self._models.release(running.plan.name)

    def _controls(self, plan: Plan, challenger: Model) -> Controls:
        name = plan.name

        def tell(exchange: Exchange, copy: Record, answer: bytes) -> None:
            if running := self._running.get(name):
                running.copied(exchange, copy, answer)

        def shadow(on: bool) -> None:
            if on:
                self.shadows.begin(name, challenger, tell)
            else:
                self.shadows.end(name)

        def promote() -> None:
            self.shadows.end(name)
            self._models.put(name, challenger)

        def retire() -> None:
            self.shadows.end(name)
            self._models.retire(challenger)

        return Controls(shadow, promote, retire, self._say)

    def _ended(self, plan: Plan, progress: Progress, error: Exception) -> None:
        """Record that a rollout could not begin or go on. The champion serves."""
        reason = _reason(error)
        self._say(
            f"{plan.name}: the rollout to {plan.challenger.path} is aborted, the champion serves: {reason}"
        )
        try:
            ended = replace(progress, status="aborted", reason=reason, weight=0.0)
            self.store.save(plan.id, ended, ("aborted", reason))
        except SetupError as full:
            self._say(f"warning: {full.message}")


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, EdgehoneError) else f"{type(error).__name__}: {error}"

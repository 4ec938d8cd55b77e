"""Pictures and sounds in requests: files in an input of the type BYTES, made arrays by a process of their own.

The bundle must say how files become arrays (`preprocessing` of its manifest). The process starts with the first such
request. It is ended when a file takes too long, and started again for the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from edgehone.backends import registry
from edgehone.bundle.read import Bundle
from edgehone.core.errors import EdgehoneError, JobError
from edgehone.execution.environments import environment
from edgehone.execution.job import Job
from edgehone.inference.media_samples import ENVIRONMENT
from edgehone.serve.http import Refused
from edgehone.serve.infer.link import GraphLink
from edgehone.serve.infer.tensor import Tensor

_OPEN_SECONDS = 60.0
# Seconds that the files of a request may take.
_SECONDS = 20.0


def media_job(bundle: Bundle, on_progress: Callable[[str], None]) -> Job | str:
    """Return the job that makes arrays of files as the bundle's evaluation did, or why there is none."""
    manifest = bundle.manifest
    if manifest.preprocessing is None:
        return "the bundle was not evaluated on images or sounds, so how files become arrays is not known"
    module = registry.module_name(ENVIRONMENT)
    try:
        env = environment.ensure(ENVIRONMENT, registry.load(ENVIRONMENT).NEEDS.to_run("graph"), on_progress)
    except EdgehoneError as error:
        return f"the environment {ENVIRONMENT}, which reads files, is not installed: {error.message}"
    args = {"backend": module, "inputs": manifest.inputs, "preprocessing": dict(manifest.preprocessing)}
    return Job("edgehone.worker.media_service:serve", env, args, {}, threads=1, backend=module)


class MediaProcess:
    """The process that makes arrays of files."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lock = asyncio.Lock()
        self._link: GraphLink | None = None

    @property
    def processes(self) -> Sequence[int]:
        """The ids of its processes, if it runs."""
        return self._link.processes if self._link else ()

    async def array(self, files: Sequence[bytes]) -> Tensor:
        """Return the files as the graph's input.

        Raises Refused for files that take too long or end the process, InputError for those that are none of the kind,
        JobError if the process cannot be started.
        """
        sent = [Tensor(str(at), "uint8", (len(content),), content) for at, content in enumerate(files)]
        async with (
            self._lock
        ):  # one request after another, so that a file that ends the process harms no other
            link = await self._opened()
            try:
                async with asyncio.timeout(_SECONDS):
                    answer = await link.ask(sent, None)
            except TimeoutError:
                await self._forget(f"a file took over {_SECONDS:.0f} s")
                raise Refused(
                    400, f"the files took over {_SECONDS:.0f} s to read: send smaller ones"
                ) from None
            except JobError as error:
                await self._forget(error.message)
                raise Refused(400, "the files ended the process that reads them: send others") from error
        return answer.outputs[0]

    async def end(self) -> None:
        """End the process."""
        async with self._lock:
            await self._forget("the server ends")

    async def _opened(self) -> GraphLink:
        if self._link is None or self._link.ended.done():
            await self._forget("it has ended")
            try:
                self._link = GraphLink(self._job)
                await self._link.open(_OPEN_SECONDS)
            except OSError as error:
                raise JobError(f"the process that reads files cannot be started: {error}") from error
        return self._link

    async def _forget(self, cause: str) -> None:
        link, self._link = self._link, None
        if link:
            await link.end(cause)

"""The choices of a request, answered by the engine together, and their parts in the order in which they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from edgehone.serve.admission import Hold, Ticket
from edgehone.serve.link import Piece
from edgehone.serve.measured.confidence import Asked, ask, of_token
from edgehone.serve.metrics import Metrics
from edgehone.serve.model import LanguageModel, Wanted
from edgehone.serve.openai.tool_calls import Call
from edgehone.serve.openai.tools import Tools
from edgehone.serve.record import Record

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """A piece of the choice with this index, and the calls of tools that it completes."""

    index: int
    piece: Piece
    calls: Sequence[Call] = ()


async def answered(
    model: LanguageModel,
    wanted: Sequence[Wanted],
    hold: Hold,
    metrics: Metrics,
    record: Record,
    tools: Tools | None = None,
) -> AsyncIterator[Part]:
    """Yield the parts of all choices. Each takes a place of its own in the engine; they are admitted all or none.

    What is measured of them is added to the record of the request.

    Raises what `LanguageModel.answer` raises; the other choices then end.
    """
    tickets = hold.admit([one.tokens for one in wanted])
    try:
        choices = [
            _choice(index, _timed(model, one, ticket, metrics, record), tools)
            for index, (one, ticket) in enumerate(zip(wanted, tickets, strict=True))
        ]
        async with aclosing(merged(choices)) as parts:  # type: ignore[type-var]
            async for part in parts:
                yield part
    finally:
        for ticket in tickets:
            ticket.give_up()


async def first_of(parts: AsyncIterator[Part]) -> Part:
    """Return the first part. With it, a request was accepted: what fails before is an error, not a stream."""
    return await anext(parts)


async def resumed(first: Part, rest: AsyncIterator[Part]) -> AsyncIterator[Part]:
    """Yield the first part and the others."""
    async with aclosing(rest) as parts:  # type: ignore[type-var]
        yield first
        async for part in parts:
            yield part


async def merged(sources: Sequence[AsyncIterator[T]]) -> AsyncIterator[T]:
    """Yield what several sources yield, as it comes. The first error of one ends all."""
    if len(sources) == 1:
        async with aclosing(sources[0]) as only:  # type: ignore[type-var]
            async for item in only:
                yield item
        return
    # An item, or of a source that has ended its error or None.
    queue: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_drain(source, queue)) for source in sources]
    try:
        running = len(tasks)
        while running:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                running -= 1
            else:
                yield found[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _drain(source: AsyncIterator[T], queue: asyncio.Queue[tuple[T] | Exception | None]) -> None:
    try:
        async with aclosing(source) as items:  # type: ignore[type-var]
            async for item in items:
                queue.put_nowait((item,))
    except Exception as error:  # noqa: BLE001 - raised again by the one that reads the queue
        queue.put_nowait(error)
    else:
        queue.put_nowait(None)


async def _choice(index: int, pieces: AsyncIterator[Piece], tools: Tools | None) -> AsyncIterator[Part]:
    """Yield the parts of one choice. With tools, their calls are taken out of the text."""
    finder = tools.finder() if tools else None
    async with aclosing(pieces) as found:  # type: ignore[type-var]
        async for piece in found:
            if finder is None:
                yield Part(index, piece)
                continue
            text, calls = finder.add(piece.text, last=piece.reason is not None)
            reason = "stop" if finder.done else piece.reason
            if reason == "stop" and finder.found and tools and not tools.named:
                reason = "tool_calls"
            yield Part(index, replace(piece, text=text, reason=reason), calls)
            if finder.done:
                return


async def _timed(
    model: LanguageModel, wanted: Wanted, ticket: Ticket, metrics: Metrics, record: Record
) -> AsyncIterator[Piece]:
    """Yield the pieces of one choice and count them."""
    begun, first, tokens, counted = time.perf_counter(), 0.0, 0, metrics.of(model.name)
    asked, wanted = ask(model, wanted, sampled=record.sampled)
    try:
        async with aclosing(model.answer(wanted, ticket)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                if not first:
                    first = time.perf_counter()
                    counted.first.observe(first - begun)
                tokens += piece.tokens
                yield piece if asked is Asked.NOTHING else _looked_at(piece, asked, model, record)
    finally:
        now = time.perf_counter()
        further = (now - first) / (tokens - 1) if tokens > 1 else None
        record.choice(first - begun if first else None, further, tokens, ticket.held)
        counted.seconds.observe(now - begun)
        if further is not None:
            counted.token.observe(further)
        if first:
            counted.prompt_tokens.inc(wanted.prompt.tokens)
        counted.generated_tokens.inc(tokens)


def _looked_at(piece: Piece, asked: Asked, model: LanguageModel, record: Record) -> Piece:
    """Add the confidence of a piece to the record. Log-probabilities that the client has not asked for are left out."""
    for entry in piece.logprobs:
        if found := of_token(entry, model.engine.vocabulary or 0):
            record.token(*found)
    return piece if asked is Asked.BY_CLIENT else replace(piece, logprobs=())

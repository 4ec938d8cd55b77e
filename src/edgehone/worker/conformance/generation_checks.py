"""Worker side: requirements on the generation of tokens by the session of a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgehone.backends.capabilities import capability
from edgehone.backends.sessions import ConcurrentSession, Sampling, SamplingSession
from edgehone.worker.clock import clock_of
from edgehone.worker.conformance.logits import score_of
from edgehone.worker.conformance.outcome import Check, Skipped, demand
from edgehone.worker.conformance.run_checks import Subject
from edgehone.worker.logprobs import log_softmax

# How much likelier (nats) than the generated token another may be, as scoring and generating round differently.
TIE = 0.05
COUNT = 12
# Additional tokens after a request to stop. transformers stops one token later.
MAX_LATE = 1
_DISORDER = "the times are not in order, or not from time.perf_counter() or the session's clock"


def generate_returns_the_requested_count(subject: Subject) -> str:
    """generate() returns exactly the requested number of tokens, ignoring end-of-text, each with a time, in order and
    after the start: speed is computed from these times."""
    with subject.open() as session:
        for count in (1, COUNT):
            before = clock_of(session).now()
            generated = session.generate(subject.facts["one"], count)
            after = clock_of(session).now()
            demand(len(generated.ids) == count, f"{len(generated.ids)} ids instead of {count}")
            demand(len(generated.times) == count, f"{len(generated.times)} times for {count} tokens")
            clock = [before, generated.started, *generated.times, after]
            demand(clock == sorted(clock), _DISORDER)
            demand(generated.times[0] > generated.started, "the first token has the time of the start")
            are_ints = all(type(i) is int for i in generated.ids)
            demand(are_ints, f"ids are {type(generated.ids[0]).__name__}, not int")
    return f"{COUNT} tokens in {generated.times[-1] - generated.started:.2g} s"


def generate_is_greedy(subject: Subject) -> str:
    """Each token is the likeliest by score() of all tokens before it, except for ties: quality is measured with
    score(), speed with generate()."""
    prompt = subject.facts["one"]
    with subject.open() as session:
        generated = session.generate(prompt, COUNT).ids
        logprobs = log_softmax(score_of(session, [*prompt, *generated[:-1]]))[len(prompt) - 1 :]
    gaps = [float(row.max() - row[i]) for row, i in zip(logprobs, generated, strict=True)]
    worst = max(range(COUNT), key=gaps.__getitem__)
    demand(
        gaps[worst] <= TIE,
        f"token {worst + 1} is {generated[worst]}, {gaps[worst]:.3g} nats less likely than {logprobs[worst].argmax()}",
    )
    return f"{COUNT} tokens, at most {gaps[worst]:.2g} nats from the likeliest"


def generate_is_deterministic(subject: Subject) -> str:
    """The same prompt gives the same tokens, regardless of other generations in between."""
    with subject.open() as session:
        first = session.generate(subject.facts["one"], COUNT).ids
        session.generate(subject.facts["other"], 3)
        again = session.generate(subject.facts["one"], COUNT).ids
    demand(first == again, f"{first}, then {again}")
    return f"{len(first)} equal tokens"


def generate_stops_on_request(subject: Subject) -> str:
    """on_token gets every token in order, and generation ends at most one token after it returns True: `edgehone run`
    stops at end-of-text this way."""
    received: list[int] = []

    def receive(token: int) -> bool:
        received.append(token)
        return len(received) == 3

    with subject.open() as session:
        whole = session.generate(subject.facts["one"], COUNT).ids
        generated = session.generate(subject.facts["one"], COUNT, receive)
    demand(
        3 <= len(generated.ids) <= 3 + MAX_LATE, f"{len(generated.ids)} tokens after a request to stop at 3"
    )
    demand(generated.ids == whole[: len(generated.ids)], f"{generated.ids} with on_token, {whole} without")
    complete = received == generated.ids[: len(received)] and len(received) >= 3
    demand(complete, f"on_token got {received}, generated are {generated.ids}")
    return f"{len(generated.ids)} tokens"


def generate_many_matches_generate(subject: Subject) -> str:
    """generate_many(), if a session has it, returns for each prompt the tokens of generate(), except for ties,
    regardless of the other prompts: throughput is then measured on the outputs whose quality was measured."""
    one, other = subject.facts["one"], subject.facts["other"]
    with subject.open() as session:
        if capability(session, ConcurrentSession) is None:
            raise Skipped("it has no generate_many(): prompts are served one after another")
        return compare_with_generate(session, [one, other[: len(other) // 2], one[: len(one) // 3], other])


def compare_with_generate(session: Any, prompts: Sequence[Sequence[int]]) -> str:
    """Compare a session's generate_many() with generate() for each prompt. Raises Failed if they differ."""
    before = clock_of(session).now()
    together = session.generate_many(prompts, COUNT)
    after = clock_of(session).now()
    demand(len(together) == len(prompts), f"{len(together)} results for {len(prompts)} prompts")
    for prompt, generated in zip(prompts, together, strict=True):
        counts = len(generated.ids), len(generated.times)
        demand(counts == (COUNT, COUNT), f"{counts[0]} ids and {counts[1]} times instead of {COUNT}")
        clock = [before, generated.started, *generated.times, after]
        demand(clock == sorted(clock), _DISORDER)
        _check_equal_except_ties(session, prompt, session.generate(prompt, COUNT).ids, generated.ids)
    shortest, longest = min(map(len, prompts)), max(map(len, prompts))
    return f"{len(prompts)} prompts of {shortest} to {longest} ids, {COUNT} tokens each"


def _check_equal_except_ties(
    session: Any, prompt: Sequence[int], alone: list[int], together: list[int]
) -> None:
    """At the first difference, both tokens must be equally likely within TIE. Later tokens continue different texts."""
    at = next((i for i, pair in enumerate(zip(alone, together, strict=True)) if pair[0] != pair[1]), None)
    if at is None:
        return
    row = log_softmax(score_of(session, [*prompt, *alone[:at]])[-1:])[0]
    gap = abs(float(row[alone[at]] - row[together[at]]))
    demand(
        gap <= TIE,
        f"token {at + 1} after {len(prompt)} ids is {together[at]} among others, {alone[at]} alone: "
        f"{gap:.3g} nats apart",
    )


def sample_follows_its_settings(subject: Subject) -> str:
    """sample(), if a session has it, gives the same tokens for the same seed and others for other seeds, and with
    top_k 1
    or temperature 0 those of generate(), except for ties: `edgehone run` and `edgehone chat` draw tokens with it."""
    prompt = subject.facts["one"]
    with subject.open() as session:
        sampler = capability(session, SamplingSession)
        if sampler is None:
            raise Skipped("it has no sample(): it takes the likeliest token only")
        greedy = session.generate(prompt, COUNT).ids
        for settings in (Sampling(top_k=1, seed=5), Sampling(temperature=0.0)):
            sampled = sampler.sample(prompt, COUNT, settings)
            demand(
                len(sampled.ids) == len(sampled.times) == COUNT, f"{len(sampled.ids)} ids instead of {COUNT}"
            )
            _check_equal_except_ties(session, prompt, greedy, sampled.ids)
        texts = [
            sampler.sample(prompt, COUNT, Sampling(temperature=2.0, seed=seed)).ids for seed in (1, 2, 3, 1)
        ]
        demand(texts[0] == texts[3], f"with one seed {texts[0]}, then {texts[3]}")
        demand(texts[0] != texts[1] or texts[0] != texts[2], f"three seeds give {texts[0]}")
        received: list[int] = []

        def receive(token: int) -> bool:
            received.append(token)
            return False

        drawn = sampler.sample(prompt, COUNT, Sampling(seed=1), receive)
        demand(received == drawn.ids, f"on_token got {received}, drawn are {drawn.ids}")
        penalty = sampler.sample(prompt, COUNT, Sampling(temperature=0.0, repetition_penalty=5.0)).ids
        repeated = sum(token in prompt or penalty.index(token) < at for at, token in enumerate(penalty))
        plain = sum(token in prompt or greedy.index(token) < at for at, token in enumerate(greedy))
        demand(
            repeated <= plain, f"a repetition penalty raises the repeated tokens from {plain} to {repeated}"
        )
    return f"{repeated} of {COUNT} tokens repeated with a penalty of 5, {plain} without"


GENERATION_CHECKS: tuple[Check, ...] = (
    generate_returns_the_requested_count,
    generate_is_greedy,
    generate_is_deterministic,
    generate_stops_on_request,
    generate_many_matches_generate,
    sample_follows_its_settings,
)

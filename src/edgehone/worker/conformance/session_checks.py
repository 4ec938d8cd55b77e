"""Worker side: requirements on the session of a language model. The tolerances allow for rounding errors.

Distances between logits are Kullback-Leibler divergences in nats, averaged over positions, as in the parity check.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import OperatorProfiler, capability
from edgehone.backends.sessions import ConcurrentSession, Sampling, SamplingSession
from edgehone.worker.backend import load_backend
from edgehone.worker.clock import clock_of
from edgehone.worker.conformance.build_checks import quantized_recipes_quantize
from edgehone.worker.conformance.device_checks import visible_devices_are_reported
from edgehone.worker.conformance.outcome import Check, Failed, Skipped, demand
from edgehone.worker.conformance.run_checks import Subject
from edgehone.worker.logprobs import exact_kl, log_softmax
from edgehone.worker.tokenizer_sample import PLAIN

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        Logits,
    )

# The same call in the same process: only the order of summation over threads may differ.
SAME = 1e-7
# The same ids in other chunks: other kernels, and a 16-bit KV cache. A leak between calls causes 0.1 or more.
CLOSE = 1e-4
# How much likelier (nats) than the generated token another may be, as scoring and generating round differently.
TIE = 0.05
COUNT = 12
# Additional tokens after a request to stop. transformers stops one token later.
MAX_LATE = 1
_DISORDER = "the times are not in order, or not from time.perf_counter() or the session's clock"


def tokenizer_matches_the_original(subject: Subject) -> str:
    """tokenize() returns the ids of the original's tokenizer for a fixed plain text, including BOS: all figures are
    measured with the original's ids, so the artifact must get the same ids in use."""
    with subject.open() as session:
        ids = [int(i) for i in session.tokenize(PLAIN)]
    original = subject.facts["sample"]
    at = next((i for i, pair in enumerate(zip(ids, original, strict=False)) if pair[0] != pair[1]), None)
    if at is not None:
        raise Failed(f"id {ids[at]} at position {at}, the original's is {original[at]}")
    demand(len(ids) == len(original), f"{len(ids)} ids, the original's are {len(original)}")
    return f"{len(ids)} equal ids"


def detokenize_inverts_tokenize(subject: Subject) -> str:
    """detokenize() of tokenize() returns the text, without special tokens: `edgehone run` prints it."""
    text = "The people of the sea"
    with subject.open() as session:
        back = session.detokenize(session.tokenize(text))
    demand(back.strip() == text, f"{text!r} becomes {back!r}")
    return repr(back)


def score_yields_one_row_for_each_id(subject: Subject) -> str:
    """score() yields finite float32 chunks [n, vocabulary], one row for each id, over the whole vocabulary: the scorer
    uses them without conversion."""
    import numpy as np

    ids = subject.facts["one"]
    with subject.open() as session:
        chunks = [np.array(chunk, copy=True) for chunk in _float32(session.score(ids))]
    rows, widths = sum(len(chunk) for chunk in chunks), {chunk.shape[1] for chunk in chunks}
    demand(rows == len(ids), f"{rows} rows for {len(ids)} ids")
    demand(len(widths) == 1, f"chunks have {', '.join(map(str, sorted(widths)))} columns")
    demand(min(widths) >= subject.facts["vocabulary"], f"{min(widths)} of {subject.facts['vocabulary']} ids")
    demand(bool(np.isfinite(np.concatenate(chunks)).all()), "some logits are not finite")
    return f"{rows} rows of {min(widths)} in {len(chunks)} chunk{'s' if len(chunks) > 1 else ''}"


def score_is_deterministic(subject: Subject) -> str:
    """The same ids give the same logits: otherwise figures could not be reproduced."""
    with subject.open() as session:
        return _near(_score(session, subject.facts["one"]), _score(session, subject.facts["one"]), SAME)


def score_is_independent_of_earlier_calls(subject: Subject) -> str:
    """Logits depend only on the ids, not on earlier calls of score() and generate(): windows must not affect each
    other."""
    one, other = subject.facts["one"], subject.facts["other"]
    with subject.open() as session:
        fresh = _score(session, one)
    with subject.open() as session:
        session.generate(other, COUNT)
        first = _score(session, other)
        later = _score(session, one)
        again = _score(session, other)
    _near(fresh, later, CLOSE, "after other ids")
    _near(first, again, CLOSE, "in another order")
    with subject.open() as session:
        return _near(first, _score(session, other), CLOSE, "in a fresh session")


def score_is_causal(subject: Subject) -> str:
    """The logits of a prefix equal those of the whole text at the same positions: a language model does not look ahead,
    and the length of a window must not matter."""
    ids = subject.facts["one"]
    with subject.open() as session:
        whole = _score(session, ids)
        seen = ""
        for length in (1, len(ids) // 3, len(ids) - 1):
            seen = _near(whole[:length], _score(session, ids[:length]), CLOSE, f"of the first {length}")
    return seen


def builds_have_equal_scores(subject: Subject) -> str:
    """Two builds of one recipe have equal logits: a finished build is reused from the store and never repeated."""
    with subject.open() as session:
        first = _score(session, subject.facts["one"])
    with subject.open("again") as session:
        return _near(first, _score(session, subject.facts["one"]), SAME)


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
        logprobs = log_softmax(_score(session, [*prompt, *generated[:-1]]))[len(prompt) - 1 :]
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
    row = log_softmax(_score(session, [*prompt, *alone[:at]])[-1:])[0]
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


def a_closed_session_can_be_reopened(subject: Subject) -> str:
    """After close(), the artifact can be opened again in the same process with the same results."""
    found = []
    for _ in range(2):
        with subject.open() as session:
            found.append(
                (_score(session, subject.facts["one"]), session.generate(subject.facts["one"], 4).ids)
            )
    demand(found[0][1] == found[1][1], f"{found[0][1]}, then {found[1][1]}")
    return _near(found[0][0], found[1][0], SAME)


def invalid_ids_raise_errors(subject: Subject) -> str:
    """score() and generate() raise an error for an empty list, a negative id, and an id outside the vocabulary: figures
    from invalid inputs would be meaningless."""
    with subject.open() as session:
        width = next(iter(session.score(subject.facts["one"]))).shape[1]
        invalid: dict[str, list[int]] = {
            "no ids": [],
            "a negative id": [1, -1],
            "an id outside the vocabulary": [1, width],
        }
        for what, ids in invalid.items():
            _raises(partial(_drain, session, ids), f"score: {what} ({ids})")
            _raises(partial(session.generate, ids, 2), f"generate: {what} ({ids})")
        _score(session, subject.facts["one"])
    return f"{len(invalid)} kinds, each raised an error"


def operator_times_are_plausible(subject: Subject) -> str:
    """operator_times(), if the module has it, returns calls and seconds of each kind of operator in prefill and in
    decode, in total no more than the duration of the call: `edgehone profile` shows them."""
    request = {"prompt": list(subject.facts["one"]), "generated": 4}
    return check_operator_times(subject, request, {"prefill", "decode"})


def check_operator_times(subject: Subject, request: Mapping[str, Any], phases: set[str]) -> str:
    """Check operator_times() of a request. Raises Skipped if the module has none, Failed for implausible times."""
    backend = capability(load_backend(subject.job), OperatorProfiler)
    if backend is None:
        raise Skipped("it has no operator_times()")
    began = time.perf_counter()
    settings = subject.job.args["settings"]
    rows = backend.operator_times(subject.job.inputs["artifact"], settings, subject.job, **request)
    took = time.perf_counter() - began
    demand({row.phase for row in rows} == phases, f"phases {sorted({row.phase for row in rows})}")
    demand(
        all(row.calls > 0 and row.seconds >= 0 for row in rows),
        "an operator without calls, or with a negative time",
    )
    whole = sum(row.seconds for row in rows)
    demand(0 < whole <= took, f"{whole:.3g} s of operators in a call that took {took:.3g} s")
    return f"{len(rows)} kinds, {whole:.2g} s"


def the_network_is_not_used(subject: Subject) -> str:
    """Neither the build nor any earlier check tried to reach another machine: workers run offline."""
    hosts = sorted({*subject.facts["reached"], *subject.reached})
    demand(not hosts, f"it tried to reach {', '.join(hosts)}")
    return "no host was contacted"


CHECKS: tuple[Check, ...] = (
    tokenizer_matches_the_original,
    detokenize_inverts_tokenize,
    score_yields_one_row_for_each_id,
    score_is_deterministic,
    score_is_independent_of_earlier_calls,
    score_is_causal,
    builds_have_equal_scores,
    generate_returns_the_requested_count,
    generate_is_greedy,
    generate_is_deterministic,
    generate_stops_on_request,
    generate_many_matches_generate,
    sample_follows_its_settings,
    a_closed_session_can_be_reopened,
    invalid_ids_raise_errors,
    operator_times_are_plausible,
    quantized_recipes_quantize,
    visible_devices_are_reported,
    the_network_is_not_used,
)


def _float32(chunks: Any) -> list[Any]:
    import numpy as np

    found = []
    for chunk in chunks:
        good = isinstance(chunk, np.ndarray) and chunk.dtype == np.float32 and chunk.ndim == 2
        shown = f"{getattr(chunk, 'dtype', type(chunk).__name__)} {getattr(chunk, 'shape', '')}"
        demand(good, f"a chunk is {shown.strip()}, not float32 [n, vocabulary]")
        found.append(chunk)
    demand(bool(found), "score() yields no chunk")
    return found


def _score(session: Any, ids: Sequence[int]) -> Logits:
    import numpy as np

    return np.concatenate([np.array(chunk, np.float32, copy=True) for chunk in session.score(list(ids))])


def _drain(session: Any, ids: Sequence[int]) -> None:
    for _ in session.score(list(ids)):
        pass


def _near(first: Logits, second: Logits, most: float, what: str = "") -> str:
    """Return the distance of two scores of the same ids. Raises Failed if it exceeds `most`."""
    demand(first.shape == second.shape, f"{first.shape}, then {second.shape} {what}".rstrip())
    distance = float(exact_kl(log_softmax(first), log_softmax(second)).mean())
    seen = f"{distance:.2g} nats apart {what}".rstrip()
    demand(distance <= most, f"{seen}, but rounding explains at most {most:g}")
    return seen


def _raises(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except Exception:  # noqa: BLE001 - the framework may choose the error
        return
    raise Failed(f"{what} was accepted")

"""Worker side: what an opened language model must do. The tolerances are those within which rounding lies.

Distances between logits are Kullback-Leibler divergences in nats, the mean over positions, as in the null test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import OperatorProfiler, capability
from edgehone.backends.sessions import ConcurrentSession
from edgehone.worker.backend import load_backend
from edgehone.worker.clock import clock_of
from edgehone.worker.conformance.device_checks import devices_are_told
from edgehone.worker.conformance.outcome import Check, Failed, Skipped, demand
from edgehone.worker.conformance.run_checks import Subject
from edgehone.worker.logprobs import exact_kl, log_softmax
from edgehone.worker.tokenizer_sample import SAMPLE

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        Logits,
    )

# The same call in the same process: only the order in which threads add may differ.
SAME = 1e-7
# The same ids cut otherwise: other kernels and other chunks, in 16 bits where the cache is; a leak costs 0.1 and more.
CLOSE = 1e-4
# How much likelier than the chosen one another token may be, where scoring and generating round otherwise.
TIE = 0.05
COUNT = 12
# transformers hears of a stop one token later.
LATE = 1
_DISORDER = "the moments are not in order, or not of time.perf_counter(), nor of the session's own clock"


def tokenizer_gives_the_originals_ids(subject: Subject) -> str:
    """tokenize() gives the ids of the original's tokenizer on the fixed sample, BOS included: every figure is read
    on the original's ids, and a bundle must feed the model the same."""
    with subject.open() as session:
        own = [int(i) for i in session.tokenize(SAMPLE)]
    original = subject.facts["sample"]
    at = next((i for i, pair in enumerate(zip(own, original, strict=False)) if pair[0] != pair[1]), None)
    if at is not None:
        raise Failed(f"id {own[at]} at position {at}, the original's is {original[at]}")
    demand(len(own) == len(original), f"{len(own)} ids, the original's are {len(original)}")
    return f"{len(own)} equal ids"


def detokenize_gives_the_text_back(subject: Subject) -> str:
    """detokenize() of tokenize() is the text again, special tokens left out: `edgehone run` prints it."""
    text = "The people of the sea"
    with subject.open() as session:
        back = session.detokenize(session.tokenize(text))
    demand(back.strip() == text, f"{text!r} comes back as {back!r}")
    return repr(back)


def score_gives_a_row_for_each_id(subject: Subject) -> str:
    """score() yields float32 chunks [n, vocabulary], a row for each id, over every id of the vocabulary, all
    finite: the scorer takes them as they come."""
    import numpy as np

    ids = subject.facts["one"]
    with subject.open() as session:
        chunks = [np.array(chunk, copy=True) for chunk in _float32(session.score(ids))]
    rows, widths = sum(len(chunk) for chunk in chunks), {chunk.shape[1] for chunk in chunks}
    demand(rows == len(ids), f"{rows} rows for {len(ids)} ids")
    demand(len(widths) == 1, f"chunks of {', '.join(map(str, sorted(widths)))} columns")
    demand(min(widths) >= subject.facts["vocabulary"], f"{min(widths)} of {subject.facts['vocabulary']} ids")
    demand(bool(np.isfinite(np.concatenate(chunks)).all()), "not every logit is finite")
    return f"{rows} rows of {min(widths)} in {len(chunks)} chunk{'s' if len(chunks) > 1 else ''}"


def score_repeats(subject: Subject) -> str:
    """The same ids give the same logits again: else no figure could be read twice."""
    with subject.open() as session:
        return _near(_score(session, subject.facts["one"]), _score(session, subject.facts["one"]), SAME)


def score_forgets_earlier_calls(subject: Subject) -> str:
    """Logits depend on the ids given and on nothing asked before, scored or generated: windows must not leak into
    each other."""
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


def score_of_a_prefix_is_part_of_the_whole(subject: Subject) -> str:
    """The logits of the first ids are those of the longer text there: a language model does not look ahead, and a
    window's length must not matter."""
    ids = subject.facts["one"]
    with subject.open() as session:
        whole = _score(session, ids)
        seen = ""
        for length in (1, len(ids) // 3, len(ids) - 1):
            seen = _near(whole[:length], _score(session, ids[:length]), CLOSE, f"of the first {length}")
    return seen


def builds_score_equally(subject: Subject) -> str:
    """Two builds of one recipe score alike: a build that is done is taken from the store for ever after."""
    with subject.open() as session:
        first = _score(session, subject.facts["one"])
    with subject.open("again") as session:
        return _near(first, _score(session, subject.facts["one"]), SAME)


def generate_makes_so_many_tokens(subject: Subject) -> str:
    """generate() makes exactly as many tokens as asked, end-of-text ignored, with a moment for each, in order and
    after the start: the speed figures are made of them."""
    with subject.open() as session:
        for count in (1, COUNT):
            before = clock_of(session).now()
            made = session.generate(subject.facts["one"], count)
            after = clock_of(session).now()
            demand(len(made.ids) == count, f"{len(made.ids)} ids where {count} were asked for")
            demand(len(made.times) == count, f"{len(made.times)} moments for {count} tokens")
            clock = [before, made.started, *made.times, after]
            demand(clock == sorted(clock), _DISORDER)
            demand(made.times[0] > made.started, "the first token came at the moment of the start")
            plain = all(type(i) is int for i in made.ids)
            demand(plain, f"ids are {type(made.ids[0]).__name__}, not int")
    return f"{COUNT} tokens in {made.times[-1] - made.started:.2g} s"


def generate_takes_the_likeliest(subject: Subject) -> str:
    """Each token is the likeliest by score() of all before it, within ties: what is measured and run is what was
    proven."""
    prompt = subject.facts["one"]
    with subject.open() as session:
        made = session.generate(prompt, COUNT).ids
        logprobs = log_softmax(_score(session, [*prompt, *made[:-1]]))[len(prompt) - 1 :]
    gaps = [float(row.max() - row[i]) for row, i in zip(logprobs, made, strict=True)]
    worst = max(range(COUNT), key=gaps.__getitem__)
    demand(
        gaps[worst] <= TIE,
        f"token {worst + 1} is {made[worst]}, {gaps[worst]:.3g} nats less likely than {logprobs[worst].argmax()}",
    )
    return f"{COUNT} tokens, at most {gaps[worst]:.2g} nats from the likeliest"


def generate_repeats(subject: Subject) -> str:
    """The same prompt gives the same tokens, whatever was generated in between."""
    with subject.open() as session:
        first = session.generate(subject.facts["one"], COUNT).ids
        session.generate(subject.facts["other"], 3)
        again = session.generate(subject.facts["one"], COUNT).ids
    demand(first == again, f"{first}, then {again}")
    return f"{len(first)} equal tokens"


def generate_stops_when_told(subject: Subject) -> str:
    """on_token hears every token in order, and its True ends the generation, one token later at most: `edgehone
    run` stops at end-of-text so."""
    heard: list[int] = []

    def hear(token: int) -> bool:
        heard.append(token)
        return len(heard) == 3

    with subject.open() as session:
        whole = session.generate(subject.facts["one"], COUNT).ids
        made = session.generate(subject.facts["one"], COUNT, hear)
    demand(3 <= len(made.ids) <= 3 + LATE, f"told to stop after 3 tokens, it made {len(made.ids)}")
    demand(made.ids == whole[: len(made.ids)], f"{made.ids} with on_token, {whole} without")
    demand(heard == made.ids[: len(heard)] and len(heard) >= 3, f"heard {heard} of {made.ids}")
    return f"{len(made.ids)} tokens"


def generate_many_is_generate_for_each(subject: Subject) -> str:
    """generate_many(), where a session has it, makes of each prompt what generate() makes of it alone, but for ties,
    whatever is under way beside it: what is measured under load is what was proven."""
    one, other = subject.facts["one"], subject.facts["other"]
    with subject.open() as session:
        if capability(session, ConcurrentSession) is None:
            raise Skipped("it has none: prompts are served one after another")
        return together_is_alone(session, [one, other[: len(other) // 2], one[: len(one) // 3], other])


def together_is_alone(session: Any, prompts: Sequence[Sequence[int]]) -> str:
    """What was seen of an opened session's generate_many(); Failed where it is not generate() for each."""
    before = clock_of(session).now()
    together = session.generate_many(prompts, COUNT)
    after = clock_of(session).now()
    demand(len(together) == len(prompts), f"{len(together)} answers to {len(prompts)} prompts")
    for prompt, made in zip(prompts, together, strict=True):
        counts = len(made.ids), len(made.times)
        demand(counts == (COUNT, COUNT), f"{counts[0]} ids, {counts[1]} moments; {COUNT} were asked for")
        clock = [before, made.started, *made.times, after]
        demand(clock == sorted(clock), _DISORDER)
        _same_but_for_ties(session, prompt, session.generate(prompt, COUNT).ids, made.ids)
    shortest, longest = min(map(len, prompts)), max(map(len, prompts))
    return f"{len(prompts)} prompts of {shortest} to {longest} ids, {COUNT} tokens each"


def _same_but_for_ties(session: Any, prompt: Sequence[int], alone: list[int], beside: list[int]) -> None:
    """Where two answers part, both tokens must be equally likely within a tie; what follows is another text."""
    at = next((i for i, pair in enumerate(zip(alone, beside, strict=True)) if pair[0] != pair[1]), None)
    if at is None:
        return
    row = log_softmax(_score(session, [*prompt, *alone[:at]])[-1:])[0]
    gap = abs(float(row[alone[at]] - row[beside[at]]))
    demand(
        gap <= TIE,
        f"token {at + 1} after {len(prompt)} ids is {beside[at]} beside others, {alone[at]} alone: "
        f"{gap:.3g} nats apart",
    )


def a_closed_session_can_be_opened_again(subject: Subject) -> str:
    """After close() the artifact opens again in the same process and answers the same."""
    found = []
    for _ in range(2):
        with subject.open() as session:
            found.append(
                (_score(session, subject.facts["one"]), session.generate(subject.facts["one"], 4).ids)
            )
    demand(found[0][1] == found[1][1], f"{found[0][1]}, then {found[1][1]}")
    return _near(found[0][0], found[1][0], SAME)


def bad_ids_are_errors(subject: Subject) -> str:
    """No ids, a negative one, and one outside the vocabulary raise, in score() and in generate(): logits of what
    is not there would be figures of nothing."""
    with subject.open() as session:
        width = next(iter(session.score(subject.facts["one"]))).shape[1]
        bad: dict[str, list[int]] = {"no ids": [], "a negative id": [1, -1], "an id too many": [1, width]}
        for what, ids in bad.items():
            _raises(partial(_drain, session, ids), f"score: {what} ({ids})")
            _raises(partial(session.generate, ids, 2), f"generate: {what} ({ids})")
        _score(session, subject.facts["one"])
    return f"{len(bad)} kinds, each raised"


def operators_are_told(subject: Subject) -> str:
    """operator_times(), where the module has it, tells calls and seconds of each kind of operator, in prefill and in
    decode, all together no more than the call took: a profile shows them."""
    request = {"prompt": list(subject.facts["one"]), "generated": 4}
    return told_operators(subject, request, {"prefill", "decode"})


def told_operators(subject: Subject, request: Mapping[str, Any], phases: set[str]) -> str:
    """What operator_times() tells of a request. Skipped where the module has none; Failed where it cannot be so."""
    backend = capability(load_backend(subject.job), OperatorProfiler)
    if backend is None:
        raise Skipped("it has no operator_times")
    began = time.perf_counter()
    settings = subject.job.args["settings"]
    rows = backend.operator_times(subject.job.inputs["artifact"], settings, subject.job, **request)
    took = time.perf_counter() - began
    demand({row.phase for row in rows} == phases, f"phases {sorted({row.phase for row in rows})}")
    demand(
        all(row.calls > 0 and row.seconds >= 0 for row in rows),
        "an operator of no calls, or less than no time",
    )
    whole = sum(row.seconds for row in rows)
    demand(0 < whole <= took, f"{whole:.3g} s of operators in a call of {took:.3g} s")
    return f"{len(rows)} kinds, {whole:.2g} s"


def nothing_asks_the_network(subject: Subject) -> str:
    """Neither the build nor any of the checks before this one asked for another machine: workers run offline."""
    asked = sorted({*subject.facts["reached"], *subject.reached})
    demand(not asked, f"it asked for {', '.join(asked)}")
    return "nothing was asked for"


CHECKS: tuple[Check, ...] = (
    tokenizer_gives_the_originals_ids,
    detokenize_gives_the_text_back,
    score_gives_a_row_for_each_id,
    score_repeats,
    score_forgets_earlier_calls,
    score_of_a_prefix_is_part_of_the_whole,
    builds_score_equally,
    generate_makes_so_many_tokens,
    generate_takes_the_likeliest,
    generate_repeats,
    generate_stops_when_told,
    generate_many_is_generate_for_each,
    a_closed_session_can_be_opened_again,
    bad_ids_are_errors,
    operators_are_told,
    devices_are_told,
    nothing_asks_the_network,
)


def _float32(chunks: Any) -> list[Any]:
    import numpy as np

    found = []
    for chunk in chunks:
        good = isinstance(chunk, np.ndarray) and chunk.dtype == np.float32 and chunk.ndim == 2
        shown = f"{getattr(chunk, 'dtype', type(chunk).__name__)} {getattr(chunk, 'shape', '')}"
        demand(good, f"a chunk is {shown.strip()}, not float32 [n, vocabulary]")
        found.append(chunk)
    demand(bool(found), "no chunk at all")
    return found


def _score(session: Any, ids: Sequence[int]) -> Logits:
    import numpy as np

    return np.concatenate([np.array(chunk, np.float32, copy=True) for chunk in session.score(list(ids))])


def _drain(session: Any, ids: Sequence[int]) -> None:
    for _ in session.score(list(ids)):
        pass


def _near(first: Logits, second: Logits, most: float, what: str = "") -> str:
    """How far apart two scores of the same ids are; Failed where further than `most`."""
    demand(first.shape == second.shape, f"{first.shape}, then {second.shape} {what}".rstrip())
    distance = float(exact_kl(log_softmax(first), log_softmax(second)).mean())
    seen = f"{distance:.2g} nats apart {what}".rstrip()
    demand(distance <= most, f"{seen}, at most {most:g} are rounding")
    return seen


def _raises(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except Exception:  # noqa: BLE001 - which error is the framework's own business
        return
    raise Failed(f"{what} was taken")

"""Worker side: requirements on the session of a language model. The tolerances allow for rounding errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from edgehone.backends.capabilities import OperatorProfiler, capability
from edgehone.worker.backend import load_backend
from edgehone.worker.conformance.build_checks import quantized_recipes_quantize
from edgehone.worker.conformance.device_checks import visible_devices_are_reported
from edgehone.worker.conformance.generation_checks import COUNT, GENERATION_CHECKS
from edgehone.worker.conformance.logits import float32_chunks, near, score_of
from edgehone.worker.conformance.outcome import Check, Failed, Skipped, demand
from edgehone.worker.conformance.run_checks import Subject
from edgehone.worker.tokenizer_sample import PLAIN

# The same call in the same process: only the order of summation over threads may differ.
SAME = 1e-7
# The same ids in other chunks: other kernels, and a 16-bit KV cache. A leak between calls causes 0.1 or more.
CLOSE = 1e-4


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
        chunks = [np.array(chunk, copy=True) for chunk in float32_chunks(session.score(ids))]
    rows, widths = sum(len(chunk) for chunk in chunks), {chunk.shape[1] for chunk in chunks}
    demand(rows == len(ids), f"{rows} rows for {len(ids)} ids")
    demand(len(widths) == 1, f"chunks have {', '.join(map(str, sorted(widths)))} columns")
    demand(min(widths) >= subject.facts["vocabulary"], f"{min(widths)} of {subject.facts['vocabulary']} ids")
    demand(bool(np.isfinite(np.concatenate(chunks)).all()), "some logits are not finite")
    return f"{rows} rows of {min(widths)} in {len(chunks)} chunk{'s' if len(chunks) > 1 else ''}"


def score_is_deterministic(subject: Subject) -> str:
    """The same ids give the same logits: otherwise figures could not be reproduced."""
    with subject.open() as session:
        return near(score_of(session, subject.facts["one"]), score_of(session, subject.facts["one"]), SAME)


def score_is_independent_of_earlier_calls(subject: Subject) -> str:
    """Logits depend only on the ids, not on earlier calls of score() and generate(): windows must not affect each
    other."""
    one, other = subject.facts["one"], subject.facts["other"]
    with subject.open() as session:
        fresh = score_of(session, one)
    with subject.open() as session:
        session.generate(other, COUNT)
        first = score_of(session, other)
        later = score_of(session, one)
        again = score_of(session, other)
    near(fresh, later, CLOSE, "after other ids")
    near(first, again, CLOSE, "in another order")
    with subject.open() as session:
        return near(first, score_of(session, other), CLOSE, "in a fresh session")


def score_is_causal(subject: Subject) -> str:
    """The logits of a prefix equal those of the whole text at the same positions: a language model does not look ahead,
    and the length of a window must not matter."""
    ids = subject.facts["one"]
    with subject.open() as session:
        whole = score_of(session, ids)
        seen = ""
        for length in (1, len(ids) // 3, len(ids) - 1):
            seen = near(whole[:length], score_of(session, ids[:length]), CLOSE, f"of the first {length}")
    return seen


def builds_have_equal_scores(subject: Subject) -> str:
    """Two builds of one recipe have equal logits: a finished build is reused from the store and never repeated."""
    with subject.open() as session:
        first = score_of(session, subject.facts["one"])
    with subject.open("again") as session:
        return near(first, score_of(session, subject.facts["one"]), SAME)


def a_closed_session_can_be_reopened(subject: Subject) -> str:
    """After close(), the artifact can be opened again in the same process with the same results."""
    found = []
    for _ in range(2):
        with subject.open() as session:
            found.append(
                (score_of(session, subject.facts["one"]), session.generate(subject.facts["one"], 4).ids)
            )
    demand(found[0][1] == found[1][1], f"{found[0][1]}, then {found[1][1]}")
    return near(found[0][0], found[1][0], SAME)


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
        score_of(session, subject.facts["one"])
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
    *GENERATION_CHECKS,
    a_closed_session_can_be_reopened,
    invalid_ids_raise_errors,
    operator_times_are_plausible,
    quantized_recipes_quantize,
    visible_devices_are_reported,
    the_network_is_not_used,
)


def _drain(session: Any, ids: Sequence[int]) -> None:
    for _ in session.score(list(ids)):
        pass


def _raises(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except Exception:  # noqa: BLE001 - the framework may choose the error
        return
    raise Failed(f"{what} was accepted")

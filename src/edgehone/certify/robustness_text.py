"""Robustness of language models: what a perturbation costs the candidate beyond what it costs the original.

A perturbation raises the perplexity of both models. Judged is the factor by which it raises the candidate's over the
factor by which it raises the original's. With the nats per token by which the candidate is worse than the original in
a window, D, it is exp(mean of D(perturbed) - D(clean)) over pairs of windows of the same passage, with the t interval
of these differences. 1 means that the candidate breaks no more than the original, whatever becomes of both.
"""

from __future__ import annotations

import math
from functools import partial

from edgehone.certify.found import Found, counted, judged
from edgehone.certify.profile import Rule
from edgehone.certify.scored import answers_of, scored
from edgehone.certify.subject import Subject
from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st
from edgehone.worker.perturbed_windows import CLEAN, REPEATED


def _perturbed(kind: str, subject: Subject, rule: Rule) -> Found:
    found = subject.once(scored)
    part, clean = found.kind(kind), found.kind(CLEAN)
    differences = part.excess() - clean.excess()[: found.layout[kind]]
    interval = st.mean_interval(differences)
    ends = [None if end is None else math.exp(end) for end in (interval.low, interval.high)]
    figure = Figure(math.exp(interval.value), ends[0], ends[1], interval.n, "times")
    evidence = {
        "windows": found.layout[kind],
        "perplexity_original": math.exp(float(part.original["nll"].mean())),
        "perplexity_candidate": math.exp(float(part.candidate["nll"].mean())),
        "clean_perplexity_original": math.exp(float(clean.original["nll"].mean())),
        "clean_perplexity_candidate": math.exp(float(clean.candidate["nll"].mean())),
        "nats_by_pair": differences.tolist(),
    }
    what = f"the perplexity that {kind.replace('_', ' ')} cost the candidate, over the original's"
    return judged(figure, "<=", rule.limit, "high", what, evidence)


typos = partial(_perturbed, "typos")
unicode = partial(_perturbed, "unicode")
repeated_tokens = partial(_perturbed, REPEATED)


def odd_prompts(subject: Subject, rule: Rule) -> Found:
    """Count the prompts that the original answers and the candidate does not."""
    original, candidate = subject.once(answers_of)
    problems = [
        f"the {name} prompt: {one['error']}"
        for name, one in candidate.items()
        if one["error"] and not original[name]["error"]
    ]
    evidence = {"original": dict(original), "candidate": dict(candidate)}
    return counted(problems, f"answered: {', '.join(candidate)}", evidence, n=len(candidate))

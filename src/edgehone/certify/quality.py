"""Quality on text that the run did not use: the accuracy kept, long contexts, and the chat template."""

from __future__ import annotations

import json

from edgehone.bundle.read import Bundle
from edgehone.certify.found import Found, Skipped, counted, judged
from edgehone.certify.profile import Rule
from edgehone.certify.scored import Scored, scored
from edgehone.certify.subject import Subject
from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st
from edgehone.evaluation.quality import kept_ratio
from edgehone.inference.run_bundle import has_template
from edgehone.worker.conversation import TURNS
from edgehone.worker.perturbed_windows import CLEAN


def accuracy(subject: Subject, rule: Rule) -> Found:
    """Judge the share of the original's next-token accuracy that is kept."""
    found = subject.once(scored)
    return judged(_kept(found), ">=", rule.limit, "low", "accuracy kept", _evidence(found))


def long_context(subject: Subject, rule: Rule) -> Found:
    """Judge how much more the end of the workload's context diverges from the original than its beginning."""
    import numpy as np

    found = subject.once(scored)
    if found.long is None:
        raise Skipped(
            "the text is too short for a window of the workload's context: give a longer --eval FILE"
        )
    kl, windows = found.long.candidate["kl"], found.long.candidate["window"]
    by_window = np.stack([kl[windows == one] for one in np.unique(windows)])
    quarter = by_window.shape[1] // 4
    growth = by_window[:, -quarter:].mean(1) - by_window[:, :quarter].mean(1)
    eighths = [float(part.mean()) for part in np.array_split(by_window, 8, axis=1)]
    evidence = {
        "tokens": int(by_window.shape[1]),
        "kl_by_eighth": eighths,
        "growth_by_window": growth.tolist(),
    }
    figure = st.mean_interval(growth).figure("nats per token")
    what = f"divergence in the last quarter of {by_window.shape[1] + 1} tokens beyond that in the first"
    return judged(figure, "<=", rule.limit, "high", what, evidence)


def chat_template(subject: Subject, rule: Rule) -> Found:
    """Check that the chat template renders, that its special tokens are single ids, and that a text can end."""
    bundle = subject.bundle
    if not has_template(bundle):
        if bundle.decision.model.get("chat_template"):
            return counted(["the original has a chat template and the bundle has none"], "")
        told = f"the model has no chat template; its texts end with the ids {list(bundle.manifest.eos)}"
        return counted(_lost_ends(bundle), told)
    facts = subject.run(
        "edgehone.worker.conversation:describe",
        {"turns": TURNS, "eos": list(bundle.manifest.eos)},
        subject.tokenizer,
    ).facts
    return counted(
        [*facts["problems"], *_lost_ends(bundle)],
        f"{len(TURNS)} turns are {len(facts['ids'])} ids; texts end with the ids {list(bundle.manifest.eos)}",
        facts,
        n=1,
    )


def _lost_ends(bundle: Bundle) -> list[str]:
    """Return the ids that end a text for the original (generation_config.json) and not for the bundle."""
    path = (bundle.tokenizer or bundle.path) / "generation_config.json"
    stated = json.loads(path.read_text("utf-8")).get("eos_token_id") if path.is_file() else None
    ids = stated if isinstance(stated, list) else [stated] if isinstance(stated, int) else []
    return [
        f"the id {one} ends a text of the original and not one of the bundle"
        for one in ids
        if one not in bundle.manifest.eos
    ]


def _kept(found: Scored) -> Figure:
    part = found.kind(CLEAN)
    return kept_ratio(
        part.candidate["correct"],
        part.original["correct"],
        part.candidate["window"],
        "the original predicts no token correctly",
    )


def _evidence(found: Scored) -> dict[str, object]:
    part = found.kind(CLEAN)
    return {
        "text": found.text,
        "windows": found.layout[CLEAN],
        "correct_original": float(part.original["correct"].mean()),
        "correct_candidate": float(part.candidate["correct"].mean()),
        "kl_mean": float(part.candidate["kl"].mean()),
        "excess_nats_by_window": part.excess().tolist(),
    }

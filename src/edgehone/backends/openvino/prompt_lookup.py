"""Greedy generation that drafts tokens from the prompt, by OpenVINO GenAI (worker side).

OpenVINO GenAI drafts with paged attention only, which is another kernel than the attention of plain sessions, so the
tokens may differ from theirs: an artifact gets the setting only where they were compared and are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.shared.prompt_lookup import LENGTHS

# An id that ends nothing, since ends are ignored: the library wants one that is not negative.
_NO_END = 0


def pipeline(folder: Path, device: str, properties: Mapping[str, Any]) -> Any:
    """Return a pipeline for single requests, which keeps nothing of earlier ones."""
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False
    found = genai.LLMPipeline(
        str(folder), device, scheduler_config=scheduler, prompt_lookup=True, **properties
    )
    config = genai.GenerationConfig(max_new_tokens=1, ignore_eos=True)
    config.set_eos_token_id(_NO_END)
    found.set_generation_config(config)
    return found


def draft_from_prompt(config: Any, drafted: int) -> None:
    """Let a request draft up to so many tokens at a time."""
    if config.ignore_eos:
        config.set_eos_token_id(_NO_END)
    config.num_assistant_tokens, config.max_ngram_size = drafted, max(LENGTHS)

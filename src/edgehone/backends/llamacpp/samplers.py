"""A chain of libllama's samplers (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import Sampling


def sampler_chain(library: Any, sampling: Sampling, vocabulary: int, length: int) -> Any:
    """Return a chain in the order of transformers: penalty, temperature, top k, top p, and the draw.

    `length` is the number of tokens that the penalty remembers. The caller frees the chain.
    """
    chain = library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())
    penalties = library.llama_sampler_init_penalties
    # Versions of llama.cpp with and without the size of the vocabulary.
    first = (vocabulary,) if len(penalties.argtypes) == 5 else ()
    parts = [penalties(*first, length, sampling.repetition_penalty, 0.0, 0.0)]
    if sampling.temperature:
        parts.append(library.llama_sampler_init_temp(sampling.temperature))
        parts += [library.llama_sampler_init_top_k(sampling.top_k)] if sampling.top_k else []
        parts.append(library.llama_sampler_init_top_p(sampling.top_p, 1))
        parts.append(library.llama_sampler_init_dist(sampling.seed % (1 << 32)))
    else:
        parts.append(library.llama_sampler_init_greedy())
    for part in parts:
        library.llama_sampler_chain_add(chain, part)
    return chain

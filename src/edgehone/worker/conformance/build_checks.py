"""Worker side: requirements on what a build holds, for language models and graphs."""

from __future__ import annotations

from edgehone.worker.conformance.outcome import Skipped, demand
from edgehone.worker.conformance.run_checks import Subject


def quantized_recipes_quantize(subject: Subject) -> str:
    """A build of a recipe called int8, Q4_K_M or the like returns the share of weights that it quantized, above 0."""
    built = subject.facts.get("quantized")
    if built is None:
        raise Skipped("it has no recipe with quantized weights that needs no calibration")
    demand("error" not in built, f"{built['recipe']} cannot be built: {built.get('error')}")
    share = built["share"]
    demand(share is not None, f"{built['recipe']}: the build returns no quantized_share")
    demand(share > 0, f"{built['recipe']}: no weight is quantized")
    return f"{built['recipe']}: {share:.0%} of the weights"

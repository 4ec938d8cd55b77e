"""Error of predictions for this machine: uncalibrated recipes are built, measured and predicted here.

    python benchmarks/here.py MODEL [--backends llamacpp,openvino,olive] [--recipes exact,Q4_0,…]

Each is predicted twice: from the constants that ship (as `edgehone recommend` does before anything was measured here),
and from the other measurements of this run (as `--device` does).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from statistics import median

from edgehone.core.events import Event
from edgehone.optimize.evaluate import measure, parity
from edgehone.optimize.evaluate.evaluators import score_original
from edgehone.optimize.executors import Executors
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.predict.predict import observation_of
from edgehone.optimize.predict.target import this_machine
from edgehone.optimize.setup import requirements, set_up
from edgehone.optimize.trial import Trial
from edgehone.plan import calibration, roofline
from edgehone.plan.calibration import Observation
from edgehone.plan.roofline import Demand, Time
from edgehone.plan.target import PredictionTarget


def measured(model: str, backends: Sequence[str]) -> tuple[Demand, PredictionTarget, dict[str, Observation]]:
    """Return the uncalibrated recipes of the quick effort with their measurements."""
    options = OptimizeOptions(model, effort="quick", backends=tuple(backends), emit=_told)
    setup = set_up(options, {}, Executors.local(), requirements(options, {}))
    trials = [Trial(one) for one in setup.plan.recipes if not one.calibrated]
    ctx, origin = score_original(setup.ctx)
    parity.score_all(ctx, origin, [origin.baseline, *trials])
    measure.measure(ctx, origin, trials)
    at, asked = this_machine(ctx.device), roofline.workload_demand(ctx.model, ctx.workload)
    assert asked is not None
    seen = {trial.recipe.key: observation_of(trial, asked, at) for trial in [origin.baseline, *trials]}
    return asked, at, {key: one for key, one in seen.items() if one}


def predicted(
    asked: Demand, at: PredictionTarget, one: Observation, others: Sequence[Observation]
) -> tuple[float, float]:
    """Return predicted seconds per token and for the prompt."""
    shares = calibration.shares(others, one.backend, one.precision)
    token = roofline.token_time(asked, one.precision, one.size, shares, at)
    assert isinstance(token, Time)
    prompt = roofline.prompt_time(asked, one.precision, shares, at, token)
    assert isinstance(prompt, Time)
    return token.seconds, prompt.seconds


def main() -> None:
    """Print the table and the error factors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--backends", default="llamacpp,openvino,olive")
    args = parser.parse_args()
    asked, at, found = measured(args.model, args.backends.split(","))
    print(
        f"{asked.parameters / 1e6:.1f} M parameters; reads {at.bandwidth.value:.1f} GB/s, "
        f"multiplies {at.compute.value:.0f} GFLOP/s"
    )
    missed: dict[str, list[float]] = {}
    for key, one in found.items():
        rest = [other for name, other in found.items() if name != key]
        shipped, left = predicted(asked, at, one, []), predicted(asked, at, one, rest)
        print(
            f"{key:28} {one.size / 1e6:6.1f} MB  decode {1 / one.token:7.1f}, shipped {1 / shipped[0]:7.1f}, left out "
            f"{1 / left[0]:7.1f}  prefill {asked.prompt_tokens / one.prompt:8.0f}, shipped "
            f"{asked.prompt_tokens / shipped[1]:8.0f}, left out {asked.prompt_tokens / left[1]:8.0f}  "
            f"share of bandwidth {one.read or math.nan:.2f}, of compute {one.compute or math.nan:.2f}"
        )
        for name, pair in (("shipped", shipped), ("left out", left)):
            for what, seconds, true in (("decode", pair[0], one.token), ("prefill", pair[1], one.prompt)):
                factor = math.exp(abs(math.log(seconds / true)))
                missed.setdefault(f"{what}, {name}", []).append(factor)
    for name, factors in missed.items():
        print(f"{name}: off by a factor of {median(factors):.2f} (median), {max(factors):.2f} (worst)")


def _told(event: Event) -> None:
    if event.state in ("failed", "done"):
        print(event.key, event.state, event.detail, flush=True)


if __name__ == "__main__":
    main()

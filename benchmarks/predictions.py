"""Error of predictions for other devices: published rates of llama.cpp against the roofline model.

    python benchmarks/predictions.py

The efficiencies of the runtimes are those of plan/roofline.toml, measured on one x86 server; the devices are those of
the catalogue. Neither was fitted to published.toml.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from edgehone.core.figure import Figure
from edgehone.device import catalogue
from edgehone.inputs import workload
from edgehone.model.info import ModelInfo
from edgehone.plan import calibration, roofline
from edgehone.plan.roofline import Time
from edgehone.plan.target import PredictionTarget

PUBLISHED = Path(__file__).with_name("published.toml")


@dataclass(frozen=True)
class Miss:
    """A published rate, its prediction, and whether the stated interval contains it."""

    device: str
    what: str
    published: float
    predicted: Figure

    @property
    def factor(self) -> float:
        """Return the ratio of prediction and published rate, the larger over the smaller."""
        ratio = (self.predicted.value or math.nan) / self.published
        return max(ratio, 1 / ratio)

    @property
    def held(self) -> bool:
        """Return True if the interval contains the published rate."""
        low, high = self.predicted.low, self.predicted.high
        return low is not None and high is not None and low <= self.published <= high


def misses() -> Iterator[Miss]:
    """Return every published rate with its prediction."""
    told = tomllib.loads(PUBLISHED.read_text("utf-8"))
    devices = catalogue.shipped()
    for rate in told["rate"]:
        target = PredictionTarget.from_catalogue(devices[rate["device"]])
        if rate.get("gpu"):
            target = replace(target, compute=target.gpu, simd=())
        yield from _one(rate, told["models"][rate["model"]], target)


def _one(rate: Mapping[str, Any], table: Mapping[str, Any], target: PredictionTarget) -> Iterator[Miss]:
    parameters = int(table["parameters"])
    model = ModelInfo(
        path=Path(rate["model"]), format="huggingface", architecture="LlamaForCausalLM", model_type="llama",
        task="text-generation", parameters=parameters, bytes=2 * parameters, dtypes={}, files=(), **table["shape"],
    )  # fmt: skip
    work = replace(workload.load("chat"), prompt_tokens=rate.get("prompt", 64), generated_tokens=128)
    asked = roofline.workload_demand(model, work)
    assert asked is not None
    size, precision = parameters * rate["bits"] / 8, roofline.precision_of(rate["bits"])
    shares = calibration.shares([], "llamacpp", precision)
    token = roofline.token_time(asked, precision, size, shares, target)
    assert isinstance(token, Time)
    what = f"{rate['model']} {rate['bits']:g} bits"
    yield Miss(rate["device"], f"{what} decode", rate["decode"], token.rate(1))
    prompt = roofline.prompt_time(asked, precision, shares, target, token)
    if "prefill" in rate and isinstance(prompt, Time):
        yield Miss(rate["device"], f"{what} prefill", rate["prefill"], prompt.rate(asked.prompt_tokens))


def main() -> None:
    """Print the table and the error factors."""
    found = list(misses())
    for one in found:
        low, value, high = (one.predicted.low or 0, one.predicted.value or 0, one.predicted.high or 0)
        mark = "held" if one.held else f"missed by {one.factor:.2f}"
        print(
            f"{one.device:16} {one.what:26} published {one.published:7.2f}  predicted {value:7.2f} "
            f"({low:.2f} to {high:.2f})  {mark}"
        )
    for kind in ("decode", "prefill"):
        factors = [one.factor for one in found if one.what.endswith(kind)]
        held = sum(one.held for one in found if one.what.endswith(kind))
        print(
            f"{kind}: off by a factor of {median(factors):.2f} (median), {max(factors):.2f} (worst); "
            f"{held} of {len(factors)} within the stated error"
        )


if __name__ == "__main__":
    main()

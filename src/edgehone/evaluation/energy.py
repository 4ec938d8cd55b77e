"""Energy of one request in joules, from the RAPL counters of the processor packages if they can be read.

The counters (Linux powercap, `intel-rapl:N/energy_uj`, on AMD too) count microjoules and wrap around at
`max_energy_range_uj`. They cover the whole package, so the figure includes everything else that runs; the pass
therefore runs alone. Without a readable counter the figure is missing with a reason. It is never estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.core.figure import Figure
from edgehone.evaluation.statistics import mean_interval

# The figure of this module, with its unit.
UNITS = {"energy_j": "J"}


def figure(facts: Mapping[str, Any]) -> Figure:
    """Return `energy_j`: joules per request, with the interval over samples of at least a second each."""
    return mean_interval(facts["joules"]).figure("J", least=0.0)

"""Energy: joules of one request, from the RAPL counters of the processor packages, where they can be read.

The counters (Linux powercap, `intel-rapl:N/energy_uj`, AMD too) count microjoules and wrap around at
`max_energy_range_uj`. They cover the whole package, so whatever else runs is in the figure; the pass runs alone.
Without a readable counter the figure is missing, with the reason. It is never estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.core.figure import Figure
from edgehone.evaluation.statistics import mean_interval

# The figure of this module, with its unit.
UNITS = {"energy_j": "J"}


def figure(facts: Mapping[str, Any]) -> Figure:
    """`energy_j`: joules a request, the interval over samples of at least a second."""
    return mean_interval(facts["joules"]).figure("J", least=0.0)

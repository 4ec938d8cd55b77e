"""Drift: whether the requests to a served model still resemble those that it was approved for.

A `Reference` is built from samples of clean traffic; a `DriftWatch` compares each answered request with it and
returns one `Signal` with the evidence of each detector. The probability of ANY false alarm over the whole life of
the watch is at most alpha, with a look after each request.

How: each request is reduced to about 30 numbers (values.py, joint.py). Each number is ranked among the reference and
everything seen since, which needs no known distribution (ranks.py). An e-process bets against the ranks being uniform
(bets.py), more cautiously where successive requests resemble each other (dependence.py). Each detector has a share of
alpha; the sum over the detectors of P(evidence ever reaches 1 / (share alpha)) is at most alpha.

What the guarantee needs: that reference and clean traffic are exchangeable, or differ by no more than the tolerance
of drift.toml from one request to the next given all before. For dependent traffic (bursts, cycles) it is
approximate: the inflation is estimated, and benchmarks/drift.py states what remains.
"""

from edgehone.drift.reference import Reference, ReferenceBuilder
from edgehone.drift.sample import Sample
from edgehone.drift.signal import Evidence, Signal
from edgehone.drift.watch import DriftWatch

__all__ = ["DriftWatch", "Evidence", "Reference", "ReferenceBuilder", "Sample", "Signal"]

"""Numbers that describe how the input values of one request are combined.

The values are mapped to ranks in the reference (fixed bins, unit variance), r. Then:

- the squared distance r' C⁻¹ r with the reference's correlations C (combinations that were rare);
- r' (I - C⁻¹) r, the score of the classifier that tells the reference from independent values of the same
  distributions (the log-likelihood ratio of a Gaussian copula): it moves when the values come apart;
- 8 random Fourier features cos(ω'r + b). A difference between two distributions moves the mean of some of them:
  the maximum mean discrepancy with a Gaussian kernel is the distance of these means (Rahimi and Recht, NeurIPS
  2007; Gretton et al., JMLR 13, 2012).

Each is a fixed function of one request and is ranked like any other value, so the joint test has the same guarantee.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgehone.core.arrays import Array, np

_FOURIER = 8
# The kernel's width as a multiple of the standard deviation of a rank, for one value; it grows with the root of
# their number.
_WIDTH = 1.0
_SEED = 18


@dataclass(frozen=True)
class Joint:
    """The functions. `inputs`: positions of the values that are combined."""

    inputs: tuple[int, ...]
    precision: Array
    frequencies: Array
    phases: Array

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the functions."""
        return tuple(f"joint.{one}" for one in range(2 + len(self.phases)))

    def values(self, ranks: Array) -> Array:
        """Return the functions of each row of ranks, (requests, functions); NaN where an input is not known."""
        r = ranks[:, list(self.inputs)]
        # Not matmul: its last bit depends on the number of rows, and a restored state must continue exactly.
        distance = ((r[:, :, None] * self.precision).sum(1) * r).sum(1)
        dependence = (r * r).sum(1) - distance
        waves = np.cos((r[:, None, :] * self.frequencies).sum(-1) + self.phases)
        return np.concatenate([distance[:, None], dependence[:, None], waves], axis=1)

    def to_json(self) -> dict[str, Any]:
        """Return the functions as JSON data."""
        return {
            "inputs": list(self.inputs),
            "precision": self.precision.tolist(),
            "frequencies": self.frequencies.tolist(),
            "phases": self.phases.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Joint:
        """Read what `to_json` returned."""
        read = [np.array(data[name], np.float64) for name in ("precision", "frequencies", "phases")]
        return cls(tuple(data["inputs"]), *read)


def fit(ranks: Array, inputs: tuple[int, ...]) -> Joint | None:
    """Fit the functions to the ranks of reference samples; None with fewer than two values that vary together."""
    inputs = tuple(one for one in inputs if np.nanstd(ranks[:, one]) > 0)
    r = ranks[:, list(inputs)]
    r = r[~np.isnan(r).any(axis=1)]
    size = len(inputs)
    if size < 2 or len(r) < 4 * size:
        return None
    # Shrunk towards independence as much as so few samples leave the correlations unknown (ridge).
    kept = len(r) / (len(r) + 4 * size)
    correlation = kept * (r.T @ r / len(r)) + (1 - kept) * np.eye(size)
    random = np.random.default_rng(_SEED)
    frequencies = random.standard_normal((_FOURIER, size)) / (_WIDTH * np.sqrt(size))
    return Joint(
        inputs,
        np.asarray(np.linalg.inv(correlation), np.float64),
        frequencies,
        random.uniform(0, 2 * np.pi, _FOURIER),
    )

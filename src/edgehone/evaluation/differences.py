"""Numeric differences of two arrays by sample, computed in parts so that outputs of 1 GiB need little more memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Entries that are converted to float64 at once.
_PART = 1 << 22


@dataclass(frozen=True)
class Differences:
    """Of each sample: |a|², |b|², a·b and |a - b|², and the mean and the largest entry of |a - b|, all [samples]."""

    a_squared: Array
    b_squared: Array
    product: Array
    apart_squared: Array
    mean: Array
    largest: Array

    @property
    def relative(self) -> Array:
        """Return |a - b| of each sample over the root mean square of |a| of all samples."""
        import numpy as np

        norm = float(np.sqrt(self.a_squared.mean()))
        apart = np.sqrt(self.apart_squared)
        result: Array = apart / norm if norm > 0 else np.where(apart > 0, 1e9, 0.0)
        return np.minimum(result, 1e9)

    @property
    def cosine(self) -> Array:
        """Return the cosine of each sample: 1 if both are zero, 0 if only one is."""
        import numpy as np

        norms = np.sqrt(self.a_squared * self.b_squared)
        same = self.apart_squared == 0
        cosines: Array = np.where(norms > 0, self.product / np.where(norms > 0, norms, 1.0), same)
        return np.clip(cosines, -1.0, 1.0)


def differences(a: Array, b: Array) -> Differences:
    """Return the differences of two arrays [samples, …] of one shape."""
    import numpy as np

    count = len(a)
    width = max(1, a.size // max(count, 1))
    columns = np.zeros((6, count))
    step = max(1, _PART // width)
    for begin in range(0, count, step):
        end = min(begin + step, count)
        x, y = (array[begin:end].reshape(end - begin, -1).astype(np.float64) for array in (a, b))
        columns[0, begin:end] = np.einsum("ij,ij->i", x, x)
        columns[1, begin:end] = np.einsum("ij,ij->i", y, y)
        columns[2, begin:end] = np.einsum("ij,ij->i", x, y)
        np.subtract(x, y, out=x)
        columns[3, begin:end] = np.einsum("ij,ij->i", x, x)
        np.abs(x, out=x)
        columns[4, begin:end] = x.mean(1) if x.shape[1] else 0.0
        columns[5, begin:end] = x.max(1, initial=0.0)
    return Differences(*columns)


def variance(array: Array) -> float:
    """Return the variance over the samples, summed over the entries, of [samples, …]."""
    import numpy as np

    flat = array.reshape(len(array), -1)
    step = max(1, _PART // max(len(array), 1))
    return sum(
        float(flat[:, begin : begin + step].astype(np.float64).var(0).sum())
        for begin in range(0, flat.shape[1], step)
    )

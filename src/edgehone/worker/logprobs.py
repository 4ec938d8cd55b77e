"""Log-probabilities on disk, and the divergence from them: the arithmetic of `score`, worker side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

LEAST_K = 256


def log_softmax(logits: Floats) -> Floats:
    """Rows [n, V] of logits to log-probabilities; sums in float64, result in float32."""
    import numpy as np

    top = logits.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # a masked entry may lie at float32's end
        shifted: Floats = logits - top
    np.maximum(shifted, np.float32(-1e30), out=shifted)  # so that 0 · ln 0 stays 0
    sums = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    shifted -= np.log(sums).astype(np.float32)
    return shifted


@dataclass
class Store:
    """The reference's log-probabilities on their way to disk: all, or the K most likely and the rest's mass.

    Rows are appended behind .npy headers written ahead, so memory does not grow with the text.
    """

    files: dict[str, Any]
    vocabulary: int
    k: int | None
    tails: list[NDArray[Any]]

    @classmethod
    def create(cls, out: Path, tokens: int, vocabulary: int, budget: int) -> Store:
        """Full when tokens · V · 4 bytes fit the budget, else the largest K (8 bytes each) that does."""
        if tokens * vocabulary * 4 <= budget:
            return cls(
                {"logprobs": _npy(out / "logprobs.npy", "<f4", (tokens, vocabulary))}, vocabulary, None, []
            )
        k = min(max(LEAST_K, budget // (8 * tokens)), vocabulary - 1)
        files = {
            "ids": _npy(out / "top_ids.npy", "<i4", (tokens, k)),
            "logprobs": _npy(out / "top_logprobs.npy", "<f4", (tokens, k)),
            "tail": _npy(out / "tail.npy", "<f4", (tokens,)),
        }
        return cls(files, vocabulary, k, [])

    def add(self, logprobs: Floats) -> None:
        """Append a block of rows [n, V]."""
        import numpy as np

        if self.k is None:
            self.files["logprobs"].write(logprobs.astype("<f4", copy=False).data)
            return
        for row in logprobs:  # one at a time: argpartition's indices are 8 bytes an entry
            ids = np.argpartition(row, self.vocabulary - self.k)[-self.k :]
            ids = ids[np.argsort(-row[ids], kind="stable")]
            self.files["ids"].write(ids.astype("<i4").data)
            self.files["logprobs"].write(row[ids].astype("<f4").data)
            self.tails.append(log_rest(row[None, :], ids[None, :]))

    def close(self) -> dict[str, Any]:
        """Finish the files; what they hold."""
        import numpy as np

        facts: dict[str, Any] = {"vocabulary": self.vocabulary, "full": self.k is None, "k": self.k}
        facts["mean_tail_mass"] = 0.0
        if self.k is not None:
            tails = np.concatenate(self.tails)
            self.files["tail"].write(tails.astype("<f4").data)
            facts["mean_tail_mass"] = float(np.exp(tails).mean())
        for file in self.files.values():
            file.close()
        return facts


def _npy(path: Path, dtype: str, shape: tuple[int, ...]) -> Any:
    import numpy as np

    file = path.open("wb")
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def log_rest(logprobs: Floats, ids: NDArray[Any]) -> NDArray[np.float64]:
    """Log of the mass outside `ids`, summed over the rest: 1 - sum(top) would cancel to nothing."""
    import numpy as np

    mass = np.exp(logprobs)
    np.put_along_axis(mass, ids, 0.0, axis=1)
    rest = mass.sum(axis=1, dtype=np.float64)
    # Not below float32's smallest, in which the masses were computed.
    result: NDArray[np.float64] = np.log(np.maximum(rest, 1e-45))
    return result


def divergence(folder: Path, full: bool, rows: slice, candidate: Floats) -> NDArray[np.float64]:
    """KL(reference || candidate) in nats for the reference's `rows`; candidate [n, V] log-probabilities."""
    import numpy as np

    if full:  # opened anew for each block, so that pages read do not stay mapped
        return exact_kl(np.load(folder / "logprobs.npy", mmap_mode="r")[rows], candidate)
    ids = np.load(folder / "top_ids.npy", mmap_mode="r")[rows]
    kept = np.load(folder / "top_logprobs.npy", mmap_mode="r")[rows]
    tail = np.load(folder / "tail.npy", mmap_mode="r")[rows].astype(np.float64)
    bins = exact_kl(kept, np.take_along_axis(candidate, ids, axis=1))
    rest = log_rest(candidate, ids)
    last = np.exp(tail) * (tail - rest) + np.exp(rest) - np.exp(tail)
    total: NDArray[np.float64] = bins + np.maximum(last, 0.0)
    return total


def log_errors(
    folder: Path, full: bool, rows: slice, candidate: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest and mean |difference| of log-probabilities (nats) from the reference's `rows`, for each token.

    Over the whole vocabulary where the reference is full, else over the K ids that it keeps. Both sides are
    log-probabilities and not logits: a constant added to all logits of a token changes nothing that a model says.
    """
    import numpy as np

    if full:
        gap = np.load(folder / "logprobs.npy", mmap_mode="r")[rows] - candidate
    else:
        ids = np.load(folder / "top_ids.npy", mmap_mode="r")[rows]
        kept = np.load(folder / "top_logprobs.npy", mmap_mode="r")[rows]
        gap = kept - np.take_along_axis(candidate, ids, axis=1)
    np.abs(gap, out=gap)
    return gap.max(axis=1).astype(np.float64), gap.mean(axis=1, dtype=np.float64)


def exact_kl(reference: Floats, candidate: Floats) -> NDArray[np.float64]:
    """Σ p·ln(p/q) - p + q, which is KL where p and q each sum to 1, and term by term never negative.

    Written so, an error of the logarithms' rounding enters by its square: identical logits give 0 and a
    divergence of 1e-8 is still read right from float32.
    """
    import numpy as np

    gap = reference - candidate
    p = np.exp(reference)
    near = np.abs(gap) < 1.0
    terms = np.where(near, np.expm1(-np.where(near, gap, 0.0)), 0.0)
    terms += gap
    terms *= p
    np.copyto(terms, p * gap + np.exp(candidate) - p, where=~near)
    total: NDArray[np.float64] = terms.sum(axis=1, dtype=np.float64)
    return np.maximum(total, 0.0)

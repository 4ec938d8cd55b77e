"""Store log-probabilities on disk and compute divergences from them: the arithmetic of `score` (worker side)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MIN_K = 256
# Every so many entries of a row are looked at to guess where its K most likely ones begin.
_SAMPLED_EVERY = 37


def log_softmax(logits: Floats) -> Floats:
    """Convert rows of logits [n, V] to log-probabilities. Sums are in float64, the result is in float32."""
    import numpy as np

    top = logits.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # masked entries may be near the float32 minimum
        shifted: Floats = logits - top
    np.maximum(shifted, np.float32(-1e30), out=shifted)  # keeps 0 · ln 0 at 0
    sums = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    shifted -= np.log(sums).astype(np.float32)
    return shifted


@dataclass
class Store:
    """Write the reference's log-probabilities to disk: all of them, or the K most likely and the mass of the rest.

    Rows are appended to .npy files whose headers were written first, so memory does not grow with the text.
    """

    files: dict[str, Any]
    vocabulary: int
    k: int | None
    tails: list[NDArray[Any]]
    threads: int = 1

    @classmethod
    def create(cls, out: Path, tokens: int, vocabulary: int, budget: int, threads: int = 1) -> Store:
        """Open the files. Rows are searched for their K most likely entries by so many `threads`.

        All log-probabilities are stored if tokens · V · 4 bytes fit in `budget`, else the K (8 bytes each) that fit,
        at least MIN_K.
        """
        if tokens * vocabulary * 4 <= budget:
            return cls(
                {"logprobs": _npy(out / "logprobs.npy", "<f4", (tokens, vocabulary))}, vocabulary, None, []
            )
        k = min(max(MIN_K, budget // (8 * tokens)), vocabulary - 1)
        files = {
            "ids": _npy(out / "top_ids.npy", "<i4", (tokens, k)),
            "logprobs": _npy(out / "top_logprobs.npy", "<f4", (tokens, k)),
            "tail": _npy(out / "tail.npy", "<f4", (tokens,)),
        }
        return cls(files, vocabulary, k, [], threads)

    def add(self, logprobs: Floats) -> None:
        """Append a block of rows [n, V]."""

        if self.k is None:
            self.files["logprobs"].write(logprobs.astype("<f4", copy=False).data)
            return
        k = self.k

        def searched(row: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
            ids = most_likely(row, k)
            return ids, log_rest(row[None, :], ids[None, :])

        # Row by row, because a partition's indices take 8 bytes per entry.
        with ThreadPoolExecutor(self.threads) as pool:
            for row, (ids, rest) in zip(logprobs, pool.map(searched, logprobs), strict=True):
                self.files["ids"].write(ids.astype("<i4").data)
                self.files["logprobs"].write(row[ids].astype("<f4").data)
                self.tails.append(rest)

    def close(self) -> dict[str, Any]:
        """Finish the files and return the facts about them."""
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


def most_likely(row: Floats, k: int) -> NDArray[Any]:
    """Return the ids of the k largest entries, in ascending order.

    Only entries above a limit are partitioned, which a sample of the row suggests: a third of the time that a
    partition of the whole row and a sort by value take with 262,144 entries.
    """
    import numpy as np

    sample = row[::_SAMPLED_EVERY]
    share = int(1.1 * k * len(sample) / len(row)) + 16  # some more, so that they are hardly ever too few
    found = np.arange(len(row))
    if share < len(sample):
        at = len(sample) - share
        above = np.flatnonzero(row > np.partition(sample, at)[at])
        found = above if len(above) >= k else found
    ids: NDArray[Any] = found[np.argpartition(row[found], len(found) - k)[-k:]]
    ids.sort()
    return ids


def _npy(path: Path, dtype: str, shape: tuple[int, ...]) -> Any:
    import numpy as np

    file = path.open("wb")
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def log_rest(logprobs: Floats, ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return the log of the mass outside `ids`.

    It is summed over the rest of the vocabulary, because 1 - sum(top) would lose all digits to cancellation.
    """
    import numpy as np

    mass = np.exp(logprobs)
    np.put_along_axis(mass, ids, 0.0, axis=1)
    rest = mass.sum(axis=1, dtype=np.float64)
    # Clamp to the smallest float32, because the masses were computed in float32.
    result: NDArray[np.float64] = np.log(np.maximum(rest, 1e-45))
    return result


def divergence(folder: Path, full: bool, rows: slice, candidate: Floats) -> NDArray[np.float64]:
    """Return KL(reference || candidate) in nats per row; `candidate` is [n, V] log-probabilities.

    `rows` selects the reference's rows. With a top-K reference the rest of the vocabulary is one bin.
    """
    import numpy as np

    if full:  # reopened for each block, so that the pages that were read do not stay mapped
        return exact_kl(np.load(folder / "logprobs.npy", mmap_mode="r")[rows], candidate)
    ids = np.load(folder / "top_ids.npy", mmap_mode="r")[rows]
    top_logprobs = np.load(folder / "top_logprobs.npy", mmap_mode="r")[rows]
    tail = np.load(folder / "tail.npy", mmap_mode="r")[rows].astype(np.float64)
    bins = exact_kl(top_logprobs, np.take_along_axis(candidate, ids, axis=1))
    rest = log_rest(candidate, ids)
    rest_term = np.exp(tail) * (tail - rest) + np.exp(rest) - np.exp(tail)
    total: NDArray[np.float64] = bins + np.maximum(rest_term, 0.0)
    return total


def log_errors(
    folder: Path, full: bool, rows: slice, candidate: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the maximum and mean absolute difference from the reference's log-probabilities (nats) per token.

    The differences are over the whole vocabulary if the reference is full, else over its K ids. Log-probabilities
    are compared instead of logits, because adding a constant to all logits of a token does not change the model's
    output.
    """
    import numpy as np

    if full:
        gap = np.load(folder / "logprobs.npy", mmap_mode="r")[rows] - candidate
    else:
        ids = np.load(folder / "top_ids.npy", mmap_mode="r")[rows]
        top_logprobs = np.load(folder / "top_logprobs.npy", mmap_mode="r")[rows]
        gap = top_logprobs - np.take_along_axis(candidate, ids, axis=1)
    np.abs(gap, out=gap)
    return gap.max(axis=1).astype(np.float64), gap.mean(axis=1, dtype=np.float64)


def exact_kl(reference: Floats, candidate: Floats) -> NDArray[np.float64]:
    """Return Σ p·ln(p/q) - p + q per row: KL where p and q each sum to 1, with no negative term.

    In this form a rounding error of the logarithms enters by its square: identical logits give 0, and a divergence
    of 1e-8 is still computed correctly from float32.
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

"""The reference: what requests are compared with, as counts of ranks and hashed tokens, moments and quantiles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgehone.core.arrays import Array, NDArray, np
from edgehone.core.errors import InputError
from edgehone.drift import joint, language, ranks, values
from edgehone.drift.dependence import Inflation, slow_variation
from edgehone.drift.joint import Joint
from edgehone.drift.sample import Sample
from edgehone.drift.settings import choose, detector_of, settings
from edgehone.drift.tokens import excerpt
from edgehone.drift.values import Seen, Transforms

FORMAT = "edgehone-drift-reference/1"
# Every third sample fits the transforms and the edges of bins, the others are counted.
_FITTED = 3
# So many samples are used at most; later ones would say little more and cost memory until `build`.
MOST = 8192
_TEXT = 160
# Values that default to 0 where they do not apply.
_ZERO_IS_NONE = ("length", "answer_length")
_NOT_JOINT = ("latency", "errors", "accuracy", "language")


@dataclass(frozen=True)
class Quantities:
    """Quantiles and mean of one value in the reference, for findings in words."""

    low: float
    median: float
    high: float
    mean: float
    binary: bool


@dataclass(frozen=True)
class Reference:
    """What the watch needs to know. Rows of `counts` and entries of the tuples are in the order of `names`."""

    samples: int
    transforms: Transforms
    joint: Joint | None
    base: tuple[str, ...]
    edges: tuple[Array, ...]
    counts: NDArray[np.int64]
    tolerances: tuple[float, ...]
    inflation: Mapping[str, Any]
    quantities: tuple[Quantities, ...]
    languages: Mapping[str, int]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the values that are ranked."""
        return (*self.base, *(self.joint.names if self.joint else ()))

    def rows(self, seen: Sequence[Seen], ignored: dict[str, int]) -> Array:
        """Return the base values of samples, (samples, base); values that cannot be true are counted in `ignored`."""
        return self.transforms.values(seen, ignored)[:, self._columns]

    def bins(self, rows: Array) -> tuple[NDArray[np.int64], Array]:
        """Return the bins (names, samples) and all values (samples, names) of rows."""
        size = len(self.base)
        bins = ranks.bins_of(rows, self.edges[:size])
        if self.joint is None:
            return bins, rows
        joined = self.joint.values(ranks.fixed_ranks(bins, self._sizes))
        return (
            np.concatenate([bins, ranks.bins_of(joined, self.edges[size:])]),
            np.concatenate([rows, joined], axis=1),
        )

    def pool_sizes(self, errors: float) -> Array:
        """Return from how many values on the sampling error of each value's ranks, times `errors`, is in its tolerance.

        The scores of a rank have a standard deviation of at most 0.4, those of a binary value that of its share.
        """
        shares = np.array([one.mean if one.binary else np.nan for one in self.quantities])
        shares = np.clip(shares, 1 / self.samples, 1 - 1 / self.samples)
        deviations = np.where(np.isnan(shares), 0.4, np.sqrt(shares * (1 - shares)))
        with np.errstate(divide="ignore"):
            return np.asarray((errors * deviations / np.array(self.tolerances)) ** 2)

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        return ranks.sizes_of(self.edges[: len(self.base)])

    @cached_property
    def _columns(self) -> list[int]:
        return [self.transforms.names.index(one) for one in self.base]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the reference's JSON form."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the reference as JSON data; it holds no prompt and no token."""
        return {
            "format": FORMAT,
            "samples": self.samples,
            "transforms": self.transforms.to_json(),
            "joint": self.joint and self.joint.to_json(),
            "base": list(self.base),
            "edges": [one.tolist() for one in self.edges],
            "counts": self.counts.tolist(),
            "tolerances": list(self.tolerances),
            "inflation": dict(self.inflation),
            "quantities": [vars(one) for one in self.quantities],
            "languages": dict(self.languages),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reference:
        """Read what `to_json` returned. Raises InputError if it is of another format or damaged."""
        hint = "build the reference again from samples (ReferenceBuilder)"
        found = data.get("format") if isinstance(data, Mapping) else type(data).__name__
        if found != FORMAT:
            raise InputError(f"the drift reference has the format {found!r}; expected {FORMAT!r}", hint=hint)
        try:
            read = cls(
                int(data["samples"]),
                Transforms.from_json(data["transforms"]),
                Joint.from_json(data["joint"]) if data["joint"] else None,
                tuple(data["base"]),
                tuple(np.array(one, np.float64) for one in data["edges"]),
                np.array(data["counts"], np.int64),
                tuple(map(float, data["tolerances"])),
                data["inflation"],
                tuple(Quantities(**one) for one in data["quantities"]),
                data["languages"],
            )
            Inflation.from_json(read.inflation)
            size = len(read.names)
            sizes = {len(read.edges), len(read.counts), len(read.tolerances), len(read.quantities)}
            if (
                sizes != {size}
                or read.counts.shape != (size, ranks.BINS)
                or len(read._columns) != len(read.base)
            ):
                raise ValueError(f"{size} values, but tables of {sorted(sizes)}")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(f"the drift reference is damaged: {error}", hint=hint) from error
        return read


class ReferenceBuilder:
    """Collects samples of clean traffic or of an evaluation, and builds the reference from the first 8,192.

    Traffic, added in its order, tells how much successive requests resemble each other; without 1,536 requests of it
    the watch begins cautiously. The samples should cover what is normal: a whole day if traffic has a daily cycle.
    """

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._traffic = 0

    @property
    def count(self) -> int:
        """The number of samples collected so far."""
        return len(self._samples)

    @property
    def full(self) -> bool:
        """Return True once further samples would not be used."""
        return len(self._samples) >= MOST

    def add(self, sample: Sample, traffic: bool = False) -> None:
        """Add a sample; its prompt is kept, shortened, until the reference is built.

        `traffic`: it is the request after the sample added before. Add evaluation samples first.
        """
        if self.full:
            return
        ids = None if sample.ids is None else list(excerpt(sample.ids))
        length = sample.length or (0 if sample.ids is None else len(sample.ids))
        features = None if sample.features is None else list(sample.features)
        text = None if sample.text is None else sample.text[:_TEXT]
        self._traffic = self._traffic + 1 if traffic else 0
        self._samples.append(sample._replace(ids=ids, length=length, features=features, text=text))

    def build(
        self, detectors: Collection[str] | None = None, tolerances: Mapping[str, float] | None = None
    ) -> Reference:
        """Return the reference.

        `detectors`: those to use, all by default. `tolerances`: by detector, instead of those of drift.toml. Raises
        InputError with too few samples, if too few know any value, and for an unknown detector or a bad tolerance.
        """
        return build(self._samples, self._traffic, choose(detectors, tolerances))


def build(samples: Sequence[Sample], traffic: int, tolerances: Mapping[str, float]) -> Reference:
    """Return the reference of samples, of which the last `traffic` ones came in this order, for some detectors."""
    least = settings().least
    if len(samples) < least:
        raise InputError(
            f"a drift reference needs at least {least} samples, but there are {len(samples)}",
            hint="collect more approved requests, or evaluate on more samples",
        )
    transforms = values.fit(samples[::_FITTED], least // _FITTED)
    table = transforms.values(samples, {})
    fitted = np.arange(len(samples)) % _FITTED == 0
    usable = [
        column
        for column, name in enumerate(transforms.names)
        if detector_of(name) in tolerances
        and _enough(table[fitted, column], least // _FITTED)
        and _enough(table[~fitted, column], least - least // _FITTED)
        and not (name in _ZERO_IS_NONE and np.nanmax(table[:, column]) == 0)
    ]
    base = tuple(transforms.names[one] for one in usable)
    if not base or (base == ("errors",) and len(tolerances) > 1):
        raise InputError(
            f"of {len(samples)} samples too few tell anything but whether they failed",
            hint="give samples with token ids, features, lengths, latencies or confidences",
        )
    return _assemble(samples, transforms, base, table[:, usable], traffic, tolerances)


def _assemble(
    samples: Sequence[Sample],
    transforms: Transforms,
    base: tuple[str, ...],
    rows: Array,
    traffic: int,
    tolerances: Mapping[str, float],
) -> Reference:
    fitted = np.arange(len(rows)) % _FITTED == 0
    edges = [ranks.edges_of(column) for column in rows[fitted].T]
    bins = ranks.bins_of(rows, edges)
    centred = ranks.fixed_ranks(bins, ranks.sizes_of(edges))
    inputs = tuple(
        column
        for column, name in enumerate(base)
        if detector_of(name) not in _NOT_JOINT and not np.isnan(rows[fitted, column]).any()
    )
    joined = joint.fit(centred[fitted], inputs) if "joint" in tolerances else None
    if joined is not None:
        extra = joined.values(centred)
        edges += [ranks.edges_of(column) for column in extra[fitted].T]
        rows = np.concatenate([rows, extra], axis=1)
        bins = ranks.bins_of(rows, edges)
    names = (*base, *(joined.names if joined else ()))
    inflation, slow = _variation(bins[:, len(samples) - traffic :], edges)
    allowed = tuple(
        tolerances[detector_of(name)] + float(extra) for name, extra in zip(names, slow, strict=True)
    )
    texts = [language.guess(one.text) for one in samples if one.text]
    return Reference(
        len(samples),
        transforms,
        joined,
        base,
        tuple(edges),
        ranks.count(bins[:, ~fitted]),
        allowed,
        inflation.to_json(),
        tuple(map(_quantities, rows.T)),
        {name: texts.count(name) for name in language.order(texts)},
    )


def _variation(bins: NDArray[np.int64], edges: Sequence[Array]) -> tuple[Inflation, Array]:
    """Return how the ranks of successive samples depend on each other, and how much they vary slowly."""
    uniform = ranks.fixed_ranks(bins, ranks.sizes_of(edges)).T / np.sqrt(12) + 0.5
    size = settings().batch
    inflation = Inflation(len(bins))
    for start in range(0, uniform.shape[1] - size + 1, size):
        inflation.observe(uniform[:, start : start + size], clip=False)
    inflation.end()
    return inflation, slow_variation(uniform, inflation.factor())


def _enough(column: Array, least: int) -> bool:
    return int(np.count_nonzero(~np.isnan(column))) >= least


def _quantities(column: Array) -> Quantities:
    known = column[~np.isnan(column)]
    low, median, high = (float(one) for one in np.quantile(known, (0.05, 0.5, 0.95)))
    return Quantities(low, median, high, float(known.mean()), bool(np.isin(known, (0.0, 1.0)).all()))

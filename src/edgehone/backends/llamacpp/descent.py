"""Improve GPTQ's codes and llama-quantize's scales together, by coordinate descent (worker side).

GPTQ rounds each column once, with the scales that llama-quantize chose for the unrounded weights. The error of the
layer's outputs, eᵀ H e for weight errors e and second moments H of the inputs, is then lowered one coordinate at a
time: a code goes to the level that is best with all others fixed (e_i - (H e)_i / H_ii, rounded), the scale and the
minimum of a group to the best pair of integers, and the float16 steps of a block to the best numbers. So no change
increases the error. Codes alone are the cyclic coordinate descent of CDQuant (Nair and Suggala, 2024,
arXiv:2406.17542).

Arrays are transposed as in `shared.gptq`. Columns are in their natural order, in which groups of them share a scale,
but for the moments and what is multiplied by them, which are in the factor's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp import lookup
from edgehone.backends.llamacpp import scales as scales_of
from edgehone.backends.llamacpp.codes import LAYOUTS, codes, with_codes
from edgehone.backends.llamacpp.lookup import TABLES, UNIT
from edgehone.backends.llamacpp.nearest import nearest, nearest_scalars
from edgehone.backends.llamacpp.scales import FORMS, Form, Scales
from edgehone.backends.shared.gptq import Factor
from edgehone.backends.shared.products import add_product, product

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Bytes = NDArray[np.uint8]

# Integers around the best real scale that are tried for a group.
_NEAR = (-2.0, -1.0, 0.0, 1.0, 2.0)


def descend(kind: str, raw: Bytes, weights: Floats, factor: Factor, sweeps: int) -> Bytes:
    """Return the bytes of rows after some sweeps over all columns. `weights` [rows, columns] are the unrounded ones."""
    import numpy as np

    state = _State.of(kind, raw, weights, factor)
    block = scales_of.block_weights(kind)
    for _ in range(sweeps):
        for start in range(0, weights.shape[1], block):
            for at in range(start, start + block, state.form.group):
                state.improve_group(at)
            state.improve_block(start, block)
    if kind in TABLES:
        better = lookup.with_values(kind, raw, np.ascontiguousarray(state.codes.T.astype(np.int8)))
    else:
        better = with_codes(kind, raw, np.ascontiguousarray(state.codes.T.astype(np.uint8)))
    return scales_of.written(kind, better, state.scales)


@dataclass
class _State:
    """The codes, the scales, and the moments times the errors, half of the gradient, of which `places` are the rows.

    The codes of lookup types are their values.
    """

    kind: str
    form: Form
    most: int
    codes: Floats
    scales: Scales
    weights: Floats
    moments: Floats
    places: Any
    pull: Floats

    @classmethod
    def of(cls, kind: str, raw: Bytes, weights: Floats, factor: Factor) -> _State:
        """Read the codes and scales from the bytes."""
        import numpy as np

        form, rows = FORMS[kind], len(weights)
        read, most = (lookup.values, 0) if kind in TABLES else (codes, LAYOUTS[kind][2])
        present = np.ascontiguousarray(read(kind, raw, rows).T, np.float32)
        left = np.ascontiguousarray(weights.T, np.float32)
        scales = scales_of.read(kind, raw, rows)
        places = np.argsort(factor.order)
        state = cls(kind, form, most, present, scales, left, factor.damped, places, left)
        errors = [state.errors(at, form.group) for at in range(0, len(left), form.group)]
        state.pull = product(factor.damped, np.concatenate(errors)[factor.order])
        return state

    @property
    def _has_entries(self) -> bool:
        """Whether several weights share an entry of a table."""
        return self.kind in TABLES and TABLES[self.kind].width > 1

    def scale(self, at: int) -> tuple[Floats, Floats]:
        """Return the scale and the zero of the group that begins at a column, for each row."""
        group = at // self.form.group
        block = group * len(self.scales.step) // len(self.scales.integers)
        scale = self.scales.step[block] * self.scales.integers[group]
        if self.scales.low is None or self.scales.lows is None:
            return scale, scale * (self.form.offset or 0)
        return scale, self.scales.low[block] * self.scales.lows[group]

    def errors(self, at: int, count: int) -> Floats:
        """Return the errors of a group's columns."""
        scale, zero = self.scale(at)
        found: Floats = self.codes[at : at + count] * scale - zero - self.weights[at : at + count]
        return found

    def improve_group(self, at: int) -> None:
        """Improve the codes of a group, its integers, and single codes again; then tell all other columns."""
        part = self.places[at : at + self.form.group]
        along = self.moments[:, part]
        own = along[part]
        before = self.errors(at, self.form.group)
        pull = self.pull[part]
        self._improve_codes(at, own, pull)
        changed = self.errors(at, self.form.group)
        self._improve_integers(at, own, pull)
        add_product(pull, own, self.errors(at, self.form.group) - changed)
        if not self._has_entries:  # a search in the table takes longer than it gains before the next sweep
            self._improve_codes(at, own, pull)
        add_product(self.pull, along, self.errors(at, self.form.group) - before)

    def _improve_codes(self, at: int, own: Floats, pull: Floats) -> None:
        """Move each code of a group to its best level; `pull` is kept up with the changes."""
        import numpy as np

        scale, _ = self.scale(at)
        safe = np.where(scale == 0, np.float32(np.inf), scale)
        if self._has_entries:
            self._improve_entries(at, own, pull, safe)
            return
        for place in range(self.form.group):
            code = self.codes[at + place]
            best = code - pull[place] / own[place, place] / safe
            if self.kind in TABLES:
                best = nearest_scalars(best)
            else:
                np.rint(best, out=best)
                np.clip(best, 0, self.most, out=best)
            change = (best - code) * scale
            self.codes[at + place] = best
            pull += np.multiply.outer(own[:, place], change)

    def _improve_entries(self, at: int, own: Floats, pull: Floats, scale: Floats) -> None:
        """Move eight weights at a time to the best entries of the table, where that lowers the error."""
        import numpy as np

        for place in range(0, self.form.group, UNIT):
            part = slice(place, place + UNIT)
            metric = own[part, part]
            present = self.codes[at + place : at + place + UNIT]
            targets = present - product(np.linalg.inv(metric), pull[part]) / scale
            new = nearest(self.kind, targets, metric)
            change = np.where(np.isfinite(scale), new - present, 0) * np.where(np.isfinite(scale), scale, 0)
            gain = (change * (product(np.ascontiguousarray(metric), change) + 2 * pull[part])).sum(0)
            better = gain < 0
            self.codes[at + place : at + place + UNIT] = np.where(better, new, present)
            add_product(pull, np.ascontiguousarray(own[:, part]), np.where(better, change, 0))

    def _improve_integers(self, at: int, own: Floats, pull: Floats) -> None:
        """Move the integers of a group to the best pair near the best real scale, where that lowers the error."""
        import numpy as np

        group = at // self.form.group
        block = group * len(self.scales.step) // len(self.scales.integers)
        step, present = self.scales.step[block], self.scales.integers[group]
        low = None if self.scales.low is None else self.scales.low[block]
        lows = None if self.scales.lows is None else self.scales.lows[group]
        part = self.codes[at : at + self.form.group]
        directions = _Directions.of(part - (self.form.offset or 0), own, pull, low is not None)
        real = present + _divided(directions.best_scale(), step)
        chosen, least = present, np.zeros_like(present)
        chosen_low = lows
        for near in _NEAR:
            integer = self.form.nearest(real + near * self.form.gap)
            moved = (integer - present) * step
            other, moved_low = lows, np.zeros_like(step)
            if low is not None and lows is not None:
                other = np.clip(np.rint(lows + _divided(directions.best_low(moved), low)), 0, self.form.most)
                moved_low = (other - lows) * low
            gain = directions.gain(moved, moved_low)
            better = gain < least
            chosen, least = np.where(better, integer, chosen), np.where(better, gain, least)
            if other is not None and chosen_low is not None:
                chosen_low = np.where(better, other, chosen_low)
        self.scales.integers[group] = chosen
        if self.scales.lows is not None and chosen_low is not None:
            self.scales.lows[group] = chosen_low

    def improve_block(self, start: int, count: int) -> None:
        """Move the float16 steps of a block to the best numbers, where that lowers the error."""
        import numpy as np

        part, block = self.places[start : start + count], start // count
        groups = slice(start // self.form.group, (start + count) // self.form.group)
        columns = self.moments[:, part]
        wide = np.repeat(self.scales.integers[groups], self.form.group, 0)
        along = wide * (self.codes[start : start + count] - (self.form.offset or 0))
        wide_low = (
            None if self.scales.lows is None else np.repeat(self.scales.lows[groups], self.form.group, 0)
        )
        directions = _Directions.of(along, columns[part], self.pull[part], wide_low is not None, wide_low)
        step = self.scales.step[block]
        new = self.form.to_half(step + directions.best_scale())
        moved, moved_low, new_low = new - step, np.zeros_like(step), None
        if self.scales.low is not None:
            low = self.scales.low[block]
            new_low = (low + directions.best_low(moved)).astype(np.float16).astype(np.float32)
            np.maximum(new_low, 0, out=new_low)
            moved_low = new_low - low
        better = (directions.gain(moved, moved_low) < 0) & np.isfinite(new) & (new * step > 0)
        change = along * np.where(better, moved, 0)
        self.scales.step[block] = np.where(better, new, step)
        if wide_low is not None and self.scales.low is not None:
            change -= wide_low * np.where(better, moved_low, 0)
            self.scales.low[block] = np.where(better, new_low, self.scales.low[block])
        add_product(self.pull, columns, change)


@dataclass(frozen=True)
class _Directions:
    """How the error depends on a scale and a zero: a·s² + 2·b·s + c·z² + 2·d·z + 2·e·s·z, for each row."""

    a: Any
    b: Any
    c: Any
    d: Any
    e: Any

    @classmethod
    def of(cls, along: Floats, own: Floats, pull: Floats, zeros: bool, lows: Any = None) -> _Directions:
        """`along` [columns, rows] are the weights' changes with the scale, -`lows` (default: -1) with the zero."""
        import numpy as np

        far = product(own, along)
        a, b = (along * far).sum(0), (along * pull).sum(0)
        if not zeros:
            nothing = np.zeros_like(a)
            return cls(a, b, nothing, nothing, nothing)
        if lows is None:
            return cls(a, b, np.full_like(a, own.sum()), -pull.sum(0), -far.sum(0))
        return cls(a, b, (lows * product(own, lows)).sum(0), -(lows * pull).sum(0), -(lows * far).sum(0))

    def best_scale(self) -> Any:
        """Return the change of the scale at the minimum over both."""
        import numpy as np

        determinant = self.a * self.c - self.e * self.e
        both = _divided(self.e * self.d - self.c * self.b, determinant)
        alone = _divided(-self.b, self.a)
        return np.where(determinant > 1e-6 * self.a * self.c, both, alone)

    def best_low(self, moved: Any) -> Any:
        """Return the best change of the zero for a change of the scale."""
        return _divided(-(self.d + self.e * moved), self.c)

    def gain(self, scale: Any, low: Any) -> Any:
        """Return the change of the error for changes of both."""
        found = scale * (self.a * scale + 2 * self.b) + low * (self.c * low + 2 * self.d)
        return found + 2 * self.e * scale * low


def _divided(one: Any, by: Any) -> Any:
    """Divide; 0 where the divisor is 0."""
    import numpy as np

    return np.divide(one, by, out=np.zeros_like(one), where=by != 0)

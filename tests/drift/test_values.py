"""The values that are ranked: bad input is counted, prompts are reduced, languages are guessed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgehone.drift import Sample, language, tokens, values
from edgehone.drift.values import Label
from tests.drift.traffic import samples

_FITTED = values.fit(
    [*samples(64), Sample(features=(1.0, 2.0))] + [Sample(features=(0.0, x)) for x in range(40)], 16
)


def _row(sample: Sample | Label, ignored: dict[str, int] | None = None) -> dict[str, float]:
    found = _FITTED.values([sample], {} if ignored is None else ignored)[0]
    return dict(zip(_FITTED.names, found.tolist(), strict=True))


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        (Sample(entropy=math.nan), "entropy"),
        (Sample(entropy=1.5), "entropy"),
        (Sample(margin=-0.1), "margin"),
        (Sample(seconds=-3600.0), "latency.seconds"),  # the clock was set back
        (Sample(first_seconds=math.inf), "latency.first"),
        (Sample(length=-1), "length"),
        (Sample(ids=[1, -2]), "ids"),
        (Sample(ids=[1 << 70]), "ids"),
        (Sample(features=(1.0,)), "features"),
        (Sample(features=(1.0, math.nan)), "features"),
        (Sample(features=()), "features"),
    ],
)
def test_what_cannot_be_true_is_counted_and_not_known(sample: Sample, name: str) -> None:
    ignored: dict[str, int] = {}
    row = _row(sample, ignored)
    assert ignored == {name: 1}
    watched = {"ids": "tokens.surprise", "features": "features.0"}.get(name, name)
    assert math.isnan(row[watched])


def test_an_invalid_prompt_does_not_spoil_the_others_of_its_batch() -> None:
    ignored: dict[str, int] = {}
    good = samples(2, 5)
    table = _FITTED.values([good[0], Sample(ids=[-1]), good[1]], ignored)
    alone = _FITTED.values(good, {})
    assert ignored == {"ids": 1}
    assert np.array_equal(table[[0, 2]], alone, equal_nan=True)


def test_nothing_known_is_nothing_ignored() -> None:
    ignored: dict[str, int] = {}
    row = _row(Sample(), ignored)
    assert ignored == {}
    assert {name for name, value in row.items() if not math.isnan(value)} == {"answer_length", "errors"}


def test_an_empty_prompt_has_a_length_and_no_tokens() -> None:
    row = _row(Sample(ids=[]))
    assert row["length"] == 0
    assert math.isnan(row["tokens.surprise"])


def test_an_absurdly_long_prompt_is_read_at_its_ends() -> None:
    ids = range(10_000_000)
    row = _row(Sample(ids=ids, length=1 << 70))
    assert row["length"] == 1 << 70
    assert len(tokens.excerpt(ids)) == 64


def test_a_later_label_is_about_nothing_else() -> None:
    assert {name: value for name, value in _row(Label(True)).items() if not math.isnan(value)} == {
        "accuracy": 1.0
    }


def test_repeated_and_unseen_tokens_are_measured() -> None:
    repeated = _row(Sample(ids=[5] * 50))
    assert repeated["tokens.repetition"] == pytest.approx(0.98)
    usual, unseen = _row(samples(1, 7)[0]), _row(Sample(ids=list(range(31_000, 31_050))))
    assert unseen["tokens.surprise"] > usual["tokens.surprise"] + 3


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("What is the best way to do this?", "english"),
        ("Wie kann ich das mit der Hand machen, und was ist nicht gut?", "german"),
        ("Comment est-ce que je fais une tarte dans le four pour vous ?", "french"),
        ("¿Cómo hago el pan con harina y qué horno es mejor para los niños?", "spanish"),
        ("как лучше всего испечь хлеб", "cyrillic"),
        ("面包怎么烤最好", "han"),
        ("パンの焼き方を教えてください", "kana"),
        ("1 + 1 =", "other"),
        ("", "other"),
    ],
)
def test_languages_are_guessed(text: str, name: str) -> None:
    assert language.guess(text) == name


def test_values_of_a_request_do_not_depend_on_its_batch() -> None:
    """A stored state reduces its pending requests in another batch than the watch that goes on."""
    batch = samples(32, 8)
    together = _FITTED.values(batch, {})
    apart = np.concatenate([_FITTED.values(batch[:5], {}), _FITTED.values(batch[5:], {})])
    assert np.array_equal(together, apart, equal_nan=True)

"""A request whose JSON was read before is the same request as one that is read anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgehone
from edgehone.serve.http import Refused
from edgehone.serve.infer.forms import Forms
from edgehone.serve.infer.rest import read_request
from edgehone.serve.infer.served import ServedGraph, read_graph
from edgehone.serve.served import Limits
from tests.serve.graphs import null_graph


@pytest.fixture
def served(spoiled: Path) -> ServedGraph:
    """A graph with the input `x` of any number of samples with four entries each."""
    return read_graph(edgehone.read(null_graph(spoiled)), "bundle", Limits(), lambda _: None)


def request(rows: Any, **more: Any) -> tuple[bytes, str]:
    """The body of a request with samples as bytes, and the length of its JSON."""
    array = np.asarray(rows, np.float32)
    size = {"binary_data_size": array.nbytes}
    one = {"name": "x", "datatype": "FP32", "shape": list(array.shape), "parameters": size}
    text = json.dumps({"inputs": [one], **more}).encode()
    return text + array.tobytes(), str(len(text))


def test_forms_are_found_again(served: ServedGraph) -> None:
    @given(st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.sampled_from([None, "7"])), max_size=12))
    def agree(asked: list[tuple[int, bool, str | None]]) -> None:
        forms = Forms()
        for at, (count, all_binary, number) in enumerate(asked):
            rows = np.full((count, 4), at, np.float32)
            more = {"parameters": {"binary_data_output": all_binary}, "outputs": [{"name": "class"}]}
            body, length = request(rows, id=number, **more)
            known, anew = (read_request(body, length, served, kept) for kept in (forms, Forms()))
            assert known == anew
            np.testing.assert_array_equal(known.tensors[0].array, rows)

    agree()


def test_what_a_known_form_does_not_fit_is_still_refused(served: ServedGraph) -> None:
    forms = Forms()
    body, length = request([[1, 2, 3, 4]])
    read_request(body, length, served, forms)
    for wrong in (body[:-1], body + b"a"):
        with pytest.raises(Refused, match=r"body (ends 1 bytes before|has 1 bytes after)"):
            read_request(wrong, length, served, forms)
    bad, length = request([[1, 2, 3]])
    for _ in range(2):  # what was refused is not kept
        with pytest.raises(Refused, match="has the shape"):
            read_request(bad, length, served, forms)


def test_clients_cannot_fill_the_memory_with_forms(served: ServedGraph) -> None:
    forms = Forms()
    for number in range(200):
        read_request(*request([[0, 0, 0, 0]], id=str(number)), served, forms)
    read_request(*request([[0, 0, 0, 0]], id="x" * 5000), served, forms)
    kept = forms._kept
    assert len(kept) == 64 and max(map(len, kept)) < 4096
    assert not any(form.asked.tensors for form in kept.values())


def test_entries_in_the_json_are_read_each_time(served: ServedGraph) -> None:
    forms, rows = Forms(), [[1.0, 2.0, 3.0, 4.0]]
    one = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": rows}
    text = json.dumps({"inputs": [one]}).encode()
    for _ in range(2):
        assert read_request(text, str(len(text)), served, forms).tensors[0].array.tolist() == rows
    assert not forms._kept

"""Messages with arrays between an engine and a server."""

from __future__ import annotations

import socket
import threading
from typing import Any

import numpy as np
import pytest

from edgehone.worker.frames import HEAD, Frames

VALUES: dict[str, Any] = {
    "flags": np.array([True, False, True]),
    "rows": np.arange(6, dtype=np.float32)
    .reshape(2, 3)
    .T,  # not contiguous, and not aligned after three bytes
    "one": np.array(7, np.int64),
    "none": np.zeros((0, 4), np.float16),
}


@pytest.fixture
def ends() -> tuple[Frames, Frames]:
    first, second = socket.socketpair()
    return Frames(first.detach()), Frames(second.detach())


def test_arrays_arrive_as_they_were_sent(ends: tuple[Frames, Frames]) -> None:
    ends[0].send({"outputs": None}, VALUES, 3)
    ends[0].send({"cancel": 3})
    received = ends[1].take(None)
    assert received is not None
    assert received.number == 3 and received.said["outputs"] is None
    found = received.arrays()
    for name, array in VALUES.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].flags.aligned
    second = ends[1].take(0)
    assert second is not None and second.number == 0 and second.said == {"cancel": 3, "tensors": []}
    assert ends[1].take(0) is None and ends[1].take(0.01) is None and not ends[1].ended


def test_large_arrays(ends: tuple[Frames, Frames]) -> None:
    large = np.random.default_rng(0).normal(size=(3, 1 << 18))
    sender = threading.Thread(target=ends[0].send, args=({}, {"a": large, "b": large[0]}, 1))
    sender.start()
    received = ends[1].take(None)
    sender.join()
    assert received is not None
    found = received.arrays()
    np.testing.assert_array_equal(found["a"], large)
    np.testing.assert_array_equal(found["b"], large[0])


def test_messages_of_one_form_are_told_apart(ends: tuple[Frames, Frames]) -> None:
    for number in range(1, 4):
        ends[0].send({"outputs": ["a"]}, {"a": np.full(2, number, np.uint16)}, number)
    ends[0].send({"outputs": ["a"]}, {"a": np.full(3, 4, np.uint16)}, 4)
    for number in range(1, 5):
        received = ends[1].take(None)
        assert received is not None and received.number == number
        np.testing.assert_array_equal(received.arrays()["a"], np.full(3 if number == 4 else 2, number))


def test_messages_in_pieces_and_the_end() -> None:
    ours, its = socket.socketpair()
    frames = Frames(its.detach())
    text = b'{"tensors": [["a", "uint8", [2]]]}'
    whole = HEAD.pack(len(text), 2, 1) + text + b"\x05\x06"
    for at in range(len(whole)):
        assert frames.take(0) is None
        ours.sendall(whole[at : at + 1])
    received = frames.take(None)
    assert received is not None and received.number == 1 and bytes(received.body) == b"\x05\x06"
    ours.sendall(whole[:20])
    ours.close()
    assert frames.take(None) is None and frames.ended
    frames.send({}, number=2)  # nobody is there: no error

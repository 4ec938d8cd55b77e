"""`edgehone backends check`: a real tiny inference in each backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.conformance.selfcheck import TOKENS, selfcheck
from edgehone.core.errors import InputError


def test_the_null_backend_works(own_home: Path) -> None:
    facts = selfcheck("null", lambda what: None)
    assert len(facts["text"]) > TOKENS / 2


def test_an_unknown_backend_raises_an_input_error(own_home: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'openvino'"):
        selfcheck("openvin", lambda what: None)


@pytest.mark.real
@pytest.mark.parametrize("name", ["pytorch", "llamacpp", "openvino", "olive", "mlx"])
def test_each_real_backend_works(name: str) -> None:
    facts = selfcheck(name, lambda what: None)
    assert facts["text"].startswith("The people of")
    assert facts["decode_tokens_per_s"] > 0

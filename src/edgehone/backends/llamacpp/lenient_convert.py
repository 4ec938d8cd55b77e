"""Run convert_hf_to_gguf.py for an encoder whose tokenizer llama.cpp may not know: `llamacpp_lenient.py SCRIPT ARGS`.

An encoder is fed with ids, never with text, so its GGUF needs a vocabulary but no pre-tokenizer that fits.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def main(script: str) -> None:
    """Run the converter as a program, with a pre-tokenizer named "default" where it knows none."""
    sys.path.insert(0, str(Path(script).parent))
    from conversion.base import TextModel

    strict = TextModel.get_vocab_base_pre

    def lenient(self: Any, tokenizer: Any) -> str:
        try:
            return str(strict(self, tokenizer))
        except NotImplementedError:
            return "default"

    TextModel.get_vocab_base_pre = lenient
    sys.argv = [script, *sys.argv[2:]]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])

"""Run convert_hf_to_gguf.py without failing on an unknown pre-tokenizer: `convert_without_pretokenizer.py SCRIPT ARGS`.

Encoders get token ids, never text, so their GGUF needs a vocabulary but no matching pre-tokenizer.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def main(script: str) -> None:
    """Run the converter as a program. An unknown pre-tokenizer gets the name "default"."""
    sys.path.insert(0, str(Path(script).parent))
    from conversion.base import TextModel

    original = TextModel.get_vocab_base_pre

    def with_default(self: Any, tokenizer: Any) -> str:
        try:
            return str(original(self, tokenizer))
        except NotImplementedError:
            return "default"

    TextModel.get_vocab_base_pre = with_default
    sys.argv = [script, *sys.argv[2:]]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])

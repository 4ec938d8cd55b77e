"""Run convert_hf_to_gguf.py without failing on a tokenizer it does not list: `convert_any_tokenizer.py SCRIPT ARGS`.

The converter knows the pre-tokenizers of published models by a digest. Of another model, it takes the SentencePiece
tokenizer if there is one, else the pre-tokenizer "default". The parity check then compares the token ids; encoders get
token ids, never text, so that theirs does not matter.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def main(script: str) -> None:
    """Run the converter as a program."""
    sys.path.insert(0, str(Path(script).parent))
    try:
        from conversion.base import TextModel
    except ModuleNotFoundError:  # a llama.cpp whose converter is a single file
        TextModel = None
    if TextModel is not None:
        _accept_any_tokenizer(TextModel)
    sys.argv = [script, *sys.argv[2:]]
    runpy.run_path(script, run_name="__main__")


def _accept_any_tokenizer(text_model: Any) -> None:
    listed, by_name = text_model.get_vocab_base_pre, text_model._set_vocab_gpt2

    def pre_tokenizer(self: Any, tokenizer: Any) -> str:
        try:
            return str(listed(self, tokenizer))
        except NotImplementedError:
            if (self.dir_model / "tokenizer.model").is_file():
                raise
            return "default"

    def set_vocabulary(self: Any) -> None:
        try:
            by_name(self)
        except NotImplementedError:
            self._set_vocab_sentencepiece()

    text_model.get_vocab_base_pre, text_model._set_vocab_gpt2 = pre_tokenizer, set_vocabulary


if __name__ == "__main__":
    main(sys.argv[1])

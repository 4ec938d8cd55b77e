"""The fixed texts of the tokenizer parity check, besides the user's evaluation text and the rendered chat template."""

from __future__ import annotations

# Each line covers something that tokenizers treat differently. No special token is in it.
PLAIN = (
    "The quick brown fox jumps over the lazy dog.\n"
    "two  spaces,   three,    four     and a tab\there,\t\ttwo tabs.\n"
    "\n\n\nThree empty lines above; a trailing space here \nand a line indented\n"
    "    by four\n\tand by a tab\n"
    "Don't we'll THEY'RE I'm it's 'quoted' \"double\" snake_case camelCase kebab-case\n"
    "0 1 12 123 1234 12345678901234567890 3.14159 1,000,000 1e-5 0x1F 50% $9.99 #1\n"
    "def f(x: int) -> str:  # comment\n        return {'a': [1, 2]}[x] != 3 && !y || z;\n"
    "https://example.org/path?q=1&r=2#top <b>bold</b> a@example.org ~/.config \\n \\t\n"
    "naïve café Ångström Straße œuvre ñandú İstanbul ﬁnal ½ ² № ™ … – — “quotes” ‘single’\n"
    "e\u0301 is not é; Vie\u0323\u0302t has two marks; zero\u200bwidth; no\u00a0break\n"
    "Ελληνικά кириллица עברית العربية हिन्दी ไทย 中文字符 日本語のテキスト 한국어\n"
    "😀 👍🏽 👩‍👩‍👧‍👦 🇫🇷 ❤️ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𒀀\n"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa !!!!!!!!!! ---------- ..........\n"
    "The end"
)
# Special tokens of different models written literally, each with what may surround it.
SPECIAL = (
    "<s>",
    "a<s>b",
    "<s> a </s> b",
    "</s>\nb",
    "<unk> <pad>",
    "<|endoftext|> a",
    "a <|im_start|>user\nb<|im_end|>\n",
    "<|begin_of_text|> <|eot_id|>a",
    "<bos> a<eos> b",
    "[INST] a [/INST] b",
    "[CLS] a [SEP] b",
)
# A conversation for the chat template: a role of each kind that every template takes, and a second question.
CONVERSATION = (
    {"role": "user", "content": "What lives in the sea?"},
    {"role": "assistant", "content": "Fish, whales and 12,000 kinds of algae."},
    {"role": "user", "content": "  Which is the largest?\nOne word."},
)

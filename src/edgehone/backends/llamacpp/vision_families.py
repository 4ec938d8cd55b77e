"""Families of vision-language models that llama.cpp's own converter splits into a language model and a projector."""

from __future__ import annotations

# Compared with transformers on tiny models by tests/families/test_vision_families.py.
CONVERTED = ("gemma3", "idefics3", "qwen2_5_vl", "qwen2_vl", "smolvlm")

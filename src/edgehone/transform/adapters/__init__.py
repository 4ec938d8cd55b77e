"""LoRA adapters (PEFT folders): read, checked against a base model, merged into a copy of it."""

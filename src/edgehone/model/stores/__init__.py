"""Where programs keep the models that a machine has already: the cache of the Hugging Face Hub, Ollama, LM Studio."""

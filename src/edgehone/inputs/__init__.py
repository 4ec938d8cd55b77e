"""The user's inputs for running and evaluating a model: workloads, texts, samples and pictures."""

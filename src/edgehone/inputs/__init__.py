"""What the user gives to run and evaluate a model on: workloads, texts, samples and pictures."""

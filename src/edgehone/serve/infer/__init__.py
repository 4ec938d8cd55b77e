"""The Open Inference Protocol v2: graphs, encoders and classifiers by their tensors."""

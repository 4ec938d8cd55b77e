"""The target `ios`: a Swift package with an MLX model as resources, or on-demand resources, and a sample app."""

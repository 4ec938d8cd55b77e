"""The target `embedded`: a static runner for Linux devices without Python, and images for updates by RAUC."""

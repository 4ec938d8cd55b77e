"""The target `ovms`: a configuration and models for OpenVINO Model Server."""

"""Backends: each makes a toolchain (converter, quantizer, runtime) available behind one contract.

base           the names that every backend's module defines
capabilities   the optional names, one protocol for each
sessions       what runs in a worker: jobs, and the sessions that a backend opens
registry       find backends by their entry points
shared/        code that several backends use
null/          a simulated backend for tests
llamacpp/, openvino/, olive/, mlx/     build candidates; llamacpp/original.py runs GGUF files as originals
pytorch/, onnxruntime/                 run originals

The core imports a package's `backend` module; all its other modules that import a framework run in workers.
"""

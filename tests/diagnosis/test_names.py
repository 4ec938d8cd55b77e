"""The identifiers in the output of `edgehone diagnose --json`: scripts compare them, so none is renamed or removed."""

from __future__ import annotations

from edgehone.diagnosis import causes, logs

CAUSES = {
    "too large for what is free",
    "KV cache in 16 bits",
    "context longer than the workload",
    "more threads than cores",
    "other programs take the processors",
    "threads share a processor with other programs",
    "another machine than it was honed for",
    "bound by memory",
    "slower clock by power saving",
    "on battery",
    "processor quota",
    "unsteady latency",
    "the prompt takes most of the time",
    "cold start waits for the disk",
    "too few bits",
    "not calibrated",
    "KV cache rounded",
    "little evaluated",
    "one request at a time",
    "one stream",
    "instructions missing",
    "files changed",
    "other versions",
    "no environment",
    "too large to build here",
    "no backend takes it",
    "brings code of its own",
    "quantized already",
    "rows that K-quants cannot take",
    "no tokenizer",
    "a long context costs more than the weights",
}
FAILURES = {
    "illegal instruction",
    "buffer not allocated",
    "memory not locked",
    "unknown architecture",
    "pre-tokenizer unknown",
    "tokenizer packages missing",
    "operator not implemented",
    "opset too new",
    "model over 2 GB in one file",
    "operators without a conversion",
    "dynamic shape on the NPU",
    "device not there",
    "CUDA provider without its libraries",
    "driver older than CUDA",
    "Metal out of memory",
    "model type unknown to mlx-lm",
    "threads could not be pinned",
    "more threads than processors",
    "torch and torchvision do not match",
    "disk full",
    "hub out of reach",
    "killed for want of memory",
    "out of memory",
}


def test_identifiers_of_causes_stay() -> None:
    assert {entry["name"] for entry in causes.table()} >= CAUSES


def test_identifiers_of_failures_stay() -> None:
    assert {one.name for one in logs.known()} >= FAILURES

"""What benchmarks/drift.py measures and compares with."""

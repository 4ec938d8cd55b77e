"""What `edgehone serve` adds to its engine, and how it behaves past its capacity."""

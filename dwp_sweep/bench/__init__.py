"""``dwp-sweep bench``: what a training step costs on this machine. Further benches: ``tests/benchmarks``."""

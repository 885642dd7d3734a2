"""Benches: what a step costs, and what it buys. By name in `dwp_sweep.bench.registry`."""

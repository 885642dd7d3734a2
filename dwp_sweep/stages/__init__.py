"""Stages: pure functions from a config and published inputs to files. By name in `dwp_sweep.stages.registry`.

Imports none of them: a worker whose stage needs no torch starts without it.
"""

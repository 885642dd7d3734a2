"""Optuna's samplers as a search asks for them. Knows nothing of studies."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from dwp_sweep.config.search import SearchSpace


def make_sampler(search: SearchSpace, seed: int) -> BaseSampler:
    """The sampler that a search asks for."""
    n_trials = search.searcher.n_trials
    match search.searcher.kind:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, min(50, n_trials // 4)))
        case "gp":
            return _quietly(optuna.samplers.GPSampler, seed=seed, n_startup_trials=_n_startup(n_trials))
        case _:
            is_conditional = any(one.when for one in search.distributions.values())
            # A field that is there only sometimes falls out of the joint model unless groups are told apart.
            return _quietly(
                optuna.samplers.TPESampler,
                seed=seed,
                multivariate=True,
                group=is_conditional,
                n_startup_trials=_n_startup(n_trials),
            )


def _n_startup(n_trials: int) -> int:
    """Points at random before a model is believed: ten, or a third of a small search."""
    return max(2, min(10, n_trials // 3))


def _quietly(make: type[BaseSampler], **settings: Any) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(**settings)

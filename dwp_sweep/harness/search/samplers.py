"""Optuna's samplers, and values of a search space as Optuna takes and gives them."""

from __future__ import annotations

import json
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import Trial

from dwp_sweep.config.search.definition import SearchSpace
from dwp_sweep.config.search.distribution import Distribution


def make_sampler(search: SearchSpace, seed: int) -> BaseSampler:
    """The sampler that a search asks for."""
    n_trials = search.searcher.n_trials
    match search.searcher.kind:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=_population(n_trials))
        case "gp":
            return _quietly(optuna.samplers.GPSampler, seed=seed, n_startup_trials=_n_startup(n_trials))
        case _:
            is_conditional = any(field.when for field in search.distributions.values())
            # A field that applies only sometimes falls out of the joint model without groups.
            return _quietly(
                optuna.samplers.TPESampler,
                seed=seed,
                multivariate=True,
                group=is_conditional,
                n_startup_trials=_n_startup(n_trials),
            )


def n_at_random(search: SearchSpace) -> int | None:
    """How many trials must have ended before the sampler chooses by what they found; None: it never does."""
    n_trials = search.searcher.n_trials
    match search.searcher.kind:
        case "random":
            return None
        case "nsga2":
            return _population(n_trials)
        case _:
            return _n_startup(n_trials)


def _population(n_trials: int) -> int:
    return max(4, min(50, n_trials // 4))


def _n_startup(n_trials: int) -> int:
    """Points at random before a model is believed: ten, or a third of a small search."""
    return max(2, min(10, n_trials // 3))


def _quietly(make: type[BaseSampler], **settings: Any) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(**settings)


def suggested(trial: Trial, key: str, field: Distribution) -> Any:
    """A value for a field, from the sampler of a trial."""
    if field.kind == "choice":
        offered = [encoded(value, field) for value in field.choices]
        return field.choices[offered.index(trial.suggest_categorical(key, offered))]
    assert field.low is not None and field.high is not None
    if field.kind == "int":
        return trial.suggest_int(key, int(field.low), _last(field), step=int(field.step or 1), log=field.log)
    value = trial.suggest_float(key, field.low, _last(field), step=field.step, log=field.log)
    # Three times 0.1 is 0.30000000000000004: another number, another node.
    return value if field.step is None else float(_at(field, round((value - field.low) / field.step)))


def optuna_distribution(field: Distribution) -> BaseDistribution:
    """A field as the trials of `suggested` have it: Optuna models trials of equal distributions together."""
    if field.kind == "choice":
        return CategoricalDistribution([encoded(value, field) for value in field.choices])
    assert field.low is not None and field.high is not None
    if field.kind == "int":
        return IntDistribution(int(field.low), _last(field), log=field.log, step=int(field.step or 1))
    return FloatDistribution(field.low, _last(field), log=field.log, step=field.step)


def _at(field: Distribution, n_steps: int) -> Decimal:
    """The value so many steps above the lowest, in decimal."""
    return Decimal(repr(field.low)) + n_steps * Decimal(repr(field.step or 1))


def _last(field: Distribution) -> Any:
    """The largest value that a step reaches: Optuna would warn and do the same."""
    assert field.low is not None and field.high is not None
    if field.step is None or field.log:
        return field.high
    last = _at(field, int((field.high - field.low) / field.step + 1e-9))
    return int(last) if field.kind == "int" else float(last)


def drawn(field: Distribution, draws: np.random.Generator) -> Any:
    """A value of a distribution, evenly at random."""
    if field.kind == "choice":
        return field.choices[int(draws.integers(len(field.choices)))]
    assert field.low is not None and field.high is not None
    if field.step is not None or (field.kind == "int" and not field.log):
        step = field.step or 1
        place = int(draws.integers(round((_last(field) - field.low) / step) + 1))
        return int(_at(field, place)) if field.kind == "int" else float(_at(field, place))
    if not field.log:
        return float(draws.uniform(field.low, field.high))
    value = float(np.exp(draws.uniform(np.log(field.low), np.log(field.high))))
    return round(value) if field.kind == "int" else min(max(value, float(field.low)), float(field.high))


def encoded(value: Any, field: Distribution) -> Any:
    """A choice as Optuna takes it: lists as text; ``true`` beside 1 is text, too."""
    if field.kind != "choice":
        return value
    is_plain = all(isinstance(choice, str) or choice is None for choice in field.choices)
    return value if is_plain else json.dumps(value)

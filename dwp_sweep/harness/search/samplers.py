"""Optuna's samplers as a search asks for them. Knows nothing of studies."""

from __future__ import annotations

import json
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial

from dwp_sweep.config.search.space import Distribution, SearchSpace


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


def suggested(trial: Trial, key: str, one: Distribution) -> Any:
    """A value for a field, from the sampler of a trial."""
    if one.kind == "choice":
        offered = [encoded(value, one) for value in one.choices]
        return one.choices[offered.index(trial.suggest_categorical(key, offered))]
    assert one.low is not None and one.high is not None
    if one.kind == "int":
        return trial.suggest_int(key, int(one.low), _last(one), step=int(one.step or 1), log=one.log)
    value = trial.suggest_float(key, one.low, _last(one), step=one.step, log=one.log)
    # Three times 0.1 is 0.30000000000000004: another number, another node.
    return value if one.step is None else float(_at(one, round((value - one.low) / one.step)))


def _at(one: Distribution, n_steps: int) -> Decimal:
    """The value so many steps above the lowest, as one would write it."""
    return Decimal(repr(one.low)) + n_steps * Decimal(repr(one.step or 1))


def _last(one: Distribution) -> Any:
    """The largest value that a step reaches: Optuna would warn and do the same."""
    assert one.low is not None and one.high is not None
    if one.step is None or one.log:
        return one.high
    last = _at(one, int((one.high - one.low) / one.step + 1e-9))
    return int(last) if one.kind == "int" else float(last)


def drawn(one: Distribution, draws: np.random.Generator) -> Any:
    """A value of a distribution, evenly at random."""
    if one.kind == "choice":
        return one.choices[int(draws.integers(len(one.choices)))]
    assert one.low is not None and one.high is not None
    if one.step is not None or (one.kind == "int" and not one.log):
        step = one.step or 1
        place = int(draws.integers(round((_last(one) - one.low) / step) + 1))
        return int(_at(one, place)) if one.kind == "int" else float(_at(one, place))
    if not one.log:
        return float(draws.uniform(one.low, one.high))
    value = float(np.exp(draws.uniform(np.log(one.low), np.log(one.high))))
    return round(value) if one.kind == "int" else min(max(value, float(one.low)), float(one.high))


def encoded(value: Any, one: Distribution) -> Any:
    """A choice as Optuna takes it: lists as text; ``true`` beside 1 is text, too."""
    if one.kind != "choice":
        return value
    is_plain = all(isinstance(choice, str) or choice is None for choice in one.choices)
    return value if is_plain else json.dumps(value)

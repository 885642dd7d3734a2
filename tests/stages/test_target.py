"""What one target training draws: by split and seed, the same for all methods and sizes of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import build_sweep
from dwp_sweep.errors import StopTrial
from dwp_sweep.methods.contract import MethodInputs, TrainingSetup
from dwp_sweep.nets.unet3d import UNet3D, he_init
from dwp_sweep.stages import target
from dwp_sweep.stages.target import TargetStageConfig
from dwp_sweep.strict import parse
from dwp_sweep.training.compute import named_generator

METHODS = ("random_init", "noise_only", "gaussian_prior")
SPACE: dict[str, Any] = {
    "name": "starts",
    "data": {
        "target": {
            "layout": "phantom",
            "phantom": {"kind": "target", "n_subjects": 7, "shape": [16, 16, 16]},
            "n_val": 1,
            "n_test": 2,
        }
    },
    "fixed": {"unet.channels": [2, 2, 2, 2]},
    "grid": {"method": list(METHODS), "split": [0, 1], "seed": [0, 1], "train_size": [2, 3]},
}


class Start(NamedTuple):
    """What a training begins with: weights (posterior means), first weight noise, seed of the loop."""

    weights: Tensor
    noise: Tensor | None
    seed: int


Starts = Callable[..., Start]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Starts:
    """``start(method, split=, seed=, train_size=)``."""
    root = tmp_path_factory.mktemp("runs")
    nodes = build_sweep(load_space(SPACE), root).nodes.values()
    begun: list[Start] = []

    def train_network(
        prepared: Any, train: Any, val: Any, config: Any, compute: Any, seed: int, *_: Any
    ) -> None:
        weights = [v.flatten() for n, v in prepared.net.state_dict().items() if not n.endswith("log_var")]
        noise = None if prepared.noise is None else torch.randn(5, generator=prepared.noise)
        begun.append(Start(torch.cat(weights), noise, seed))
        raise StopTrial

    def one(method: str, split: int = 0, seed: int = 0, train_size: int = 2) -> Start:
        labels = {"method": method, "split": split, "seed": seed, "train_size": train_size}
        (node,) = (node for node in nodes if node.labels == labels)
        config = parse(TargetStageConfig, node.config, "node")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StopTrial):
            patch.setattr(target, "train_network", train_network)
            target.run(config, {}, root, root, lambda *_: None)
        return begun.pop()

    return one


@pytest.mark.parametrize("other", [{"split": 1}, {"seed": 1}, {"split": 1, "seed": 1}])
def test_splits_and_seeds_start_apart_and_draw_apart(start: Starts, other: dict[str, int]) -> None:
    for method in METHODS:
        first, second = start(method), start(method, **other)
        assert not bool((first.weights == second.weights).any())
        assert first.seed != second.seed
        if first.noise is not None and second.noise is not None:
            assert not torch.equal(first.noise, second.noise)


def test_methods_of_one_split_and_seed_share_start_order_and_noise(start: Starts) -> None:
    for where in ({"split": 0}, {"split": 1}, {"split": 1, "seed": 1}):
        plain, noisy, pulled = (start(method, **where) for method in METHODS)
        assert torch.equal(plain.weights, noisy.weights) and torch.equal(plain.weights, pulled.weights)
        assert plain.seed == noisy.seed == pulled.seed
        assert noisy.noise is not None and pulled.noise is not None and torch.equal(noisy.noise, pulled.noise)


def test_sizes_of_one_split_share_their_start(start: Starts) -> None:
    few, many = (start("noise_only", split=1, train_size=size) for size in (2, 3))
    assert torch.equal(few.weights, many.weights) and few.seed == many.seed


@pytest.mark.parametrize(("validation", "n_train"), [("held_out", 4), ("train", 3)])
def test_n_counts_the_images_that_train_and_not_those_that_validate(
    tmp_path: Path, validation: str, n_train: int
) -> None:
    changes = (
        "method=gaussian_prior",
        "split=0",
        "seed=0",
        "train_size=4",
        f"data.target.validation={validation}",
    )
    sweep = build_sweep(load_space(SPACE, changes), tmp_path)
    (node,) = sweep.nodes.values()
    given: list[MethodInputs] = []

    def prepare(inputs: MethodInputs) -> TrainingSetup:
        given.append(inputs)
        raise StopTrial

    method = replace(target.METHODS["gaussian_prior"], prepare=prepare)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopTrial):
        patch.setitem(target.METHODS, "gaussian_prior", method)
        target.run(parse(TargetStageConfig, node.config, "node"), {}, tmp_path, tmp_path, lambda *_: None)
    assert given[0].n_train == n_train and given[0].length.steps_per_epoch == 2


def test_no_target_starts_where_a_source_network_did(start: Starts) -> None:
    """Networks keep much of their start: equal starts would tie the baseline to the bank."""
    sources = []
    for seed in range(3):
        net = UNet3D(1, 2, (2, 2, 2, 2))
        he_init(net, named_generator(seed, "init"))  # as the source stage of this seed
        sources.append(torch.cat([weight.detach().flatten() for weight in net.parameters()]))
    for split in (0, 1):
        for seed in (0, 1):
            weights = start("random_init", split, seed).weights
            assert not any(bool((weights == source).any()) for source in sources)


def test_weights_and_order_are_drawn_apart(start: Starts) -> None:
    seed = start("noise_only").seed
    states = [
        named_generator(seed, name).initial_seed() for name in ("init", "noise", "order", "monte_carlo")
    ]
    assert len(set(states)) == len(states)

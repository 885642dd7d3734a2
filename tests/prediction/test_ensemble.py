"""The best configuration's networks predict together, each with its own weights and draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dwp_sweep
from dwp_sweep.errors import InputError
from dwp_sweep.prediction.ensemble import as_one, find_ensemble
from dwp_sweep.prediction.trained import find_trained
from tests.prediction.conftest import KEY, save_scan
from tests.prediction.test_trained import log
from tests.stages.test_evaluation import case

OTHER = "fedcba98765432100000"


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_the_mean_of_all_networks_of_the_best_configuration_predicts(
    storage, add_target, scan, uri, tmp_path
) -> None:
    for seed, key in enumerate((KEY, OTHER)):
        log(storage, add_target(key, net_seed=seed), uri, 0.5 + seed / 10)
    image = save_scan(tmp_path / "s.nii.gz", scan)
    each = [dwp_sweep.predict(key, image, storage=storage, device="cpu") for key in (KEY, OTHER)]
    best = {"storage": storage, "tracking_uri": uri, "device": "cpu"}
    together = dwp_sweep.predict("best:liver", image, ensemble=True, **best)
    mean = (each[0].probability + each[1].probability) / 2
    assert np.abs(each[0].probability - each[1].probability).max() > 0.01
    np.testing.assert_allclose(together.probability, mean, atol=1e-6)
    np.testing.assert_array_equal(together.mask, mean > 0.5)
    alone = dwp_sweep.predict("best:liver", image, **best)
    np.testing.assert_array_equal(alone.probability, each[1].probability)
    title = find_ensemble("best:liver", storage, uri, device="cpu").title
    assert title == "mean of 2 networks: random_init, m = 5, split 0, seed 3"


def test_a_configuration_with_one_network_is_that_network(storage, add_target, uri) -> None:
    log(storage, add_target(), uri, 0.5)
    one = find_ensemble("best:liver", storage, uri, device="cpu")
    assert not one.others and one.title == find_trained(KEY, storage, device="cpu").title


def test_one_run_is_no_ensemble(storage, add_target) -> None:
    with pytest.raises(
        InputError, match=r"--ensemble: is the mean of .* best configuration, and 0123.* is one"
    ):
        find_ensemble(add_target(), storage)


def test_passes_are_those_of_all_networks_and_their_titles_are_joined(storage, add_target) -> None:
    plain = find_trained(add_target(), storage, device="cpu")
    noisy = find_trained(add_target(OTHER, log_var=-3.0), storage, device="cpu")
    together = as_one([plain, replace(noisy, title="random_init, m = 5, split 1, seed 3")])
    calls: list[int] = []
    together.predict(case(0), lambda: calls.append(1))
    assert together.n_passes(case(0)) == len(calls) == 1 + 1 + 3
    assert together.title == "mean of 2 networks: random_init, m = 5, split 0, 1, seed 3"
    assert "does not hold for the mean" in together.on_probabilities
    assert [one.net for one in together.members] == [plain.net, noisy.net]

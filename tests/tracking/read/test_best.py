from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.store.protocol import Store
from dwp_sweep.tables import plain_text
from dwp_sweep.tracking.read.best import best_config
from dwp_sweep.tracking.read.reader import results
from dwp_sweep.tracking.write.parent import Tracking, open_tracking
from dwp_sweep.tracking.write.sync import sync_records
from tests.tracking.conftest import make_node, make_record, publish

AddRun = Callable[..., str]


def add_condition(
    add_run: AddRun, method: str, validation: list[float], test: list[float], **params: Any
) -> list[str]:
    return [
        add_run({"val_dice": v, "test_dice": t}, params, method=method, train_size=5, split=split, seed=0)
        for split, (v, t) in enumerate(zip(validation, test, strict=True))
    ]


def test_validation_decides_where_the_test_disagrees(tracking: Tracking, add_run: AddRun) -> None:
    wanted = add_condition(add_run, "fine_tune", [0.7, 0.8, 0.9], [0.1, 0.2, 0.3])
    add_condition(add_run, "random_init", [0.6, 0.6, 0.6], [0.9, 0.9, 0.9])
    best = best_config(tracking.sweep_name, tracking_uri=tracking.uri)
    assert best.config == {"method": "fine_tune", "train_size": 5}
    assert best.run_ids == tuple(wanted)
    assert best.metrics["val_dice"].mean == pytest.approx(0.8)
    assert best.metrics["val_dice"].std == pytest.approx(0.1)  # the sample's: ddof 1
    assert best.metrics["test_dice"].mean == pytest.approx(0.2) and best.metrics["test_dice"].n == 3
    assert [candidate.values["method"] for candidate in best.candidates] == ["fine_tune", "random_init"]
    assert best.varied == ("method",)
    assert set(best.artifacts) == set(wanted) and all(best.artifacts.values())


def test_the_best_is_one_line_in_a_python_session(tracking: Tracking, add_run: AddRun) -> None:
    add_condition(add_run, "fine_tune", [0.7, 0.8, 0.9], [0.1, 0.2, 0.3])
    best = best_config(tracking.sweep_name, tracking_uri=tracking.uri)
    name = tracking.sweep_name
    assert repr(best) == f"Best(sweep={name!r}, method='fine_tune', val_dice=0.800 ± 0.100, n_runs=3)"
    only = best_config(tracking.sweep_name, where={"split": 0}, tracking_uri=tracking.uri)
    assert repr(only) == f"Best(sweep={name!r}, method='fine_tune', val_dice=0.700, n_runs=1)"


def test_the_mean_over_splits_decides_not_one_lucky_split(tracking: Tracking, add_run: AddRun) -> None:
    add_condition(add_run, "fine_tune", [0.99, 0.1, 0.1], [0.5] * 3)
    add_condition(add_run, "random_init", [0.5, 0.5, 0.5], [0.5] * 3)
    assert best_config(tracking.sweep_name, tracking_uri=tracking.uri).config["method"] == "random_init"


def test_the_network_that_was_handed_over_counts_not_the_last_epoch(
    tracking: Tracking, add_run: AddRun
) -> None:
    add_run({"val_dice": 0.9, "best_val_dice": 0.5}, method="random_init", train_size=5, split=0)
    add_run({"val_dice": 0.1, "best_val_dice": 0.6}, method="fine_tune", train_size=5, split=0)
    best = best_config(tracking.sweep_name, tracking_uri=tracking.uri)
    assert best.config["method"] == "fine_tune"
    assert best.metrics["val_dice"].mean == best.metrics["best_val_dice"].mean == 0.6
    assert best.metrics["val_dice"].std is None


def test_of_losses_the_lowest_is_best(tracking: Tracking, add_run: AddRun) -> None:
    add_run({"val_loss": 0.2}, method="random_init", train_size=5, split=0)
    add_run({"val_loss": 0.1}, method="fine_tune", train_size=5, split=0)
    assert (
        best_config(tracking.sweep_name, "val_loss", tracking_uri=tracking.uri).config["method"]
        == "fine_tune"
    )


def test_settings_make_configurations_splits_seeds_and_places_do_not(
    tracking: Tracking, add_run: AddRun
) -> None:
    for split, (low, high) in enumerate([(0.5, 0.6), (0.5, 0.7)]):
        shared = {
            "split": split,
            "seed": 0,
            "data.target.root": f"/disk{split}",
            "compute.device": f"cuda:{split}",
        }
        add_run(
            {"val_dice": low}, {**shared, "target.lr": 0.1}, method="fine_tune", train_size=5, split=split
        )
        add_run(
            {"val_dice": high}, {**shared, "target.lr": 0.01}, method="fine_tune", train_size=5, split=split
        )
    best = best_config(tracking.sweep_name, tracking_uri=tracking.uri)
    assert len(best.candidates) == 2 and best.varied == ("target.lr",)
    assert best.config["target"] == {"lr": 0.01} and best.metrics["val_dice"].n == 2
    assert "split" not in best.config and "seed" not in best.config


def test_settings_that_only_some_methods_have_do_not_count_as_varied(
    tracking: Tracking, add_run: AddRun
) -> None:
    add_run({"val_dice": 0.5}, {"dwp.noise": "local"}, method="deep_weight_prior", train_size=5, split=0)
    add_run({"val_dice": 0.4}, {"target.lr": 0.1}, method="random_init", train_size=5, split=0)
    assert best_config(tracking.sweep_name, tracking_uri=tracking.uri).varied == ("method",)


@pytest.mark.parametrize("train_size", [5, "5", 5.0])
def test_where_narrows_the_question(tracking: Tracking, add_run: AddRun, train_size: Any) -> None:
    for size, value in ((5, 0.5), (20, 0.9)):
        add_run({"val_dice": value}, {"dwp.noise": "local"}, method="fine_tune", train_size=size, split=0)
    where = {"train_size": train_size, "method": "fine_tune", "dwp.noise": "local"}
    best = best_config(tracking.sweep_name, where=where, tracking_uri=tracking.uri)
    assert best.config == {"method": "fine_tune", "train_size": 5, "dwp": {"noise": "local"}}


def test_complete_configurations_go_first_and_the_rest_is_told(tracking: Tracking, add_run: AddRun) -> None:
    add_condition(add_run, "fine_tune", [0.5, 0.5, 0.5], [0.5] * 3)
    add_condition(add_run, "random_init", [0.9], [0.9])
    add_run({"val_dice": 0.9}, status="FAILED", method="random_init", train_size=5, split=1)
    add_run({"val_dice": 0.9}, status="RUNNING", method="random_init", train_size=5, split=2)
    best = best_config(tracking.sweep_name, tracking_uri=tracking.uri)
    assert best.config["method"] == "fine_tune"
    assert len(best.notes) == 2
    assert (
        "2 target run(s) are not finished" in best.notes[0]
        and "1 configuration(s) have fewer" in best.notes[1]
    )


def test_a_newer_run_of_the_same_split_replaces_the_older(tracking: Tracking, add_run: AddRun) -> None:
    add_run({"val_dice": 0.9}, method="fine_tune", train_size=5, split=0, seed=0)
    newer = add_run({"val_dice": 0.4}, method="fine_tune", train_size=5, split=0, seed=0)
    best = best_config(tracking.sweep_name, tracking_uri=tracking.uri)
    assert best.run_ids == (newer,)


def test_runs_whose_metric_is_not_finite_are_left_out_and_told(tracking: Tracking, add_run: AddRun) -> None:
    add_run({"val_dice": float("nan")}, method="fine_tune", train_size=5, split=0)
    add_run({"val_dice": 0.4}, method="random_init", train_size=5, split=0)
    best = best_config(tracking.sweep_name, tracking_uri=tracking.uri)
    assert best.config["method"] == "random_init" and "no finite val_dice" in best.notes[0]
    json.loads(best.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def problems(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as raised:
        call()
    return str(raised.value)


@pytest.mark.parametrize("metric", ["test_dice", "best_test_dice", "test_iou"])
def test_test_metrics_never_select(tracking: Tracking, metric: str) -> None:
    text = problems(lambda: best_config(tracking.sweep_name, metric, tracking_uri=tracking.uri))
    assert metric in text and "never used to choose" in text and "val_dice" in text


def test_bad_questions_name_what_there_is(tracking: Tracking, add_run: AddRun) -> None:
    add_run({"best_val_dice": 0.4}, {"target.lr": 0.1}, method="random_init", train_size=5, split=0)

    def ask(**question: Any) -> str:
        return problems(lambda: best_config(tracking.sweep_name, tracking_uri=tracking.uri, **question))

    assert "did you mean 'val_dice'" in ask(metric="val_dise")
    assert "validation metrics there: val_dice" in ask(metric="train_loss") or "val_dice" in ask(
        metric="train_loss"
    )
    assert "did you mean 'method'" in ask(where={"metod": "x"})
    assert "values there: random_init" in ask(where={"method": "fine_tune"})
    both = ask(where={"metod": "x", "train_size": 7})
    assert "metod" in both and "values there: 5" in both  # all problems at once


def test_an_unknown_sweep_lists_the_known(tracking: Tracking) -> None:
    text = problems(lambda: best_config(tracking.sweep_name[:-1], tracking_uri=tracking.uri))
    assert f"did you mean {tracking.sweep_name!r}" in text and "sweeps there: " in text


def test_a_sweep_without_finished_runs_says_so(tracking: Tracking, add_run: AddRun) -> None:
    add_run({"val_dice": 0.4}, status="FAILED", method="random_init", train_size=5, split=0)
    assert "states: failed" in problems(lambda: best_config(tracking.sweep_name, tracking_uri=tracking.uri))


def test_a_missing_database_is_named_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert str(path) in problems(lambda: best_config("sweep", tracking_uri=f"sqlite:///{path}"))
    assert not path.exists()


def test_a_server_that_does_not_answer_is_named() -> None:
    assert "http://127.0.0.1:9" in problems(lambda: best_config("sweep", tracking_uri="http://127.0.0.1:9"))


def test_upstream_settings_belong_to_the_configuration(tracking: Tracking, store: Store) -> None:
    """Two latent dimensions differ in the priors' runs only; the targets' own settings are equal."""
    nodes = []
    sources = tuple(make_node(f"s{seed}", "source", seed=seed) for seed in range(2))
    bank = make_node("h", "harvest", {"sources": sources})
    nodes += [*sources, bank]
    for latent_dim, value in ((6, 0.5), (8, 0.7)):
        priors = tuple(make_node(f"p{latent_dim}{g}", "prior", {"bank": (bank,)}, group=g) for g in (1, 2))
        for prior in priors:
            prior.config["prior"]["latent_dim"] = latent_dim
        nodes += priors
        for split in range(2):
            labels = {"method": "deep_weight_prior", "train_size": 5, "split": split, "seed": 0}
            node = make_node(f"t{latent_dim}{split}", "target", {"priors": priors}, **labels)
            nodes.append(node)
            publish(store, node, make_record(node, best_val_dice=value + split / 100, test_dice=0.4))
    for node in nodes:
        if node.stage != "target":
            publish(store, node, make_record(node))
    assert sync_records(tracking, nodes, store).problem is None
    best = best_config(tracking.sweep_name, tracking_uri=tracking.uri)
    assert best.varied == ("prior.latent_dim",)
    assert best.config["prior"]["latent_dim"] == 8 and best.config["source"]["weight_decay"] == 3e-3
    assert best.config["source"]["n_seeds"] == 2  # as many as went into the bank
    assert best.config["data"]["source"]["fingerprint"] == "source-hash"
    assert best.config["data"]["target"]["fingerprint"] == "target-hash"
    assert sorted(node.stage for node in best.upstream) == ["harvest", "prior", "prior", "source", "source"]
    assert best_config(tracking.sweep_name, where={"prior.latent_dim": 6}, tracking_uri=tracking.uri).metrics[
        "val_dice"
    ].mean == pytest.approx(0.505)


def test_what_a_sweep_asks_about_is_always_shown(
    uri: str, store: Store, sweep_name: str, client: Any
) -> None:
    settings = {
        "grid": {"split": [0, 1]},
        "search": {"prior.latent_dim": {}, "dwp.kl_weight": {}, "absent": {}},
    }
    tracking = open_tracking(uri, store.root, sweep_name, settings)
    bank = make_node("b", "harvest")
    prior = make_node("p", "prior", {"bank": (bank,)}, group=1)
    own = {"prior.latent_dim": 6, "dwp.kl_weight": 1e-5}
    labels = {"method": "deep_weight_prior", "train_size": 5, "seed": 0, "trial": 3, "settings": own}
    nodes = [make_node(f"t{n}", "target", {"priors": (prior,)}, split=n, **labels) for n in (0, 1)]
    for node in (bank, prior, *nodes):
        publish(store, node, make_record(node, best_val_dice=0.5, test_dice=0.4))
    assert sync_records(tracking, [bank, prior, *nodes], store).problem is None
    best = best_config(sweep_name, tracking_uri=uri, where={"trial": 3})
    assert best.varied == ("prior.latent_dim", "dwp.kl_weight"), "with one value each"
    text = plain_text(*best.tables())
    assert "prior.latent_dim" in text and "6" in text and "1e-05" in text
    runs = {run.info.run_name: run for run in client.search_runs([tracking.experiment_id])}
    run = runs["trial 3 latent_dim=6 kl_weight=1e-05 deep_weight_prior m=5 split 0 seed 0"]
    assert run.data.params["prior.latent_dim"] == "6", "MLflow's pages compare target runs by it"
    assert run.data.tags["dwp.trial"] == "3"
    assert run.data.tags["dwp.settings"] == "prior.latent_dim=6 dwp.kl_weight=1e-05"
    table = results(sweep_name, tracking_uri=uri)
    assert set(table[table.stage == "target"]["settings"]) == {run.data.tags["dwp.settings"]}
    assert len(set(table[table.stage == "target"]["configuration"])) == 1


def test_the_saved_view_follows_the_sweep_until_a_person_changes_it(
    uri: str, store: Store, sweep_name: str, client: Any
) -> None:
    def columns(*keys: str) -> list[str]:
        opened = open_tracking(uri, store.root, sweep_name, {"search": {key: {} for key in keys}})
        tags = client.get_experiment(opened.experiment_id).tags
        return list(json.loads(tags["mlflow.sharedViewState.targets"])["selectedColumns"])

    assert "params.`prior.latent_dim`" in columns("prior.latent_dim")
    assert "params.`target.lr`" in columns("prior.latent_dim", "target.lr")
    assert columns("method").count("params.`method`") == 1
    experiment = client.get_experiment_by_name(sweep_name)
    mine = json.dumps({"selectedColumns": ["params.`mine`"]})
    client.set_experiment_tag(experiment.experiment_id, "mlflow.sharedViewState.targets", mine)
    assert columns("dwp.kl_weight") == ["params.`mine`"]

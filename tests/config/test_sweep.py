"""Conditions to nodes: shared upstream stages, keys that change with results and with nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.datasets import prepare_datasets
from dwp_sweep.config.node import node_of, node_values, pipeline_order
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.data.config import PhantomConfig
from dwp_sweep.data.phantom.dataset import write_phantom
from dwp_sweep.errors import InputError
from dwp_sweep.tracking.mlflow_format import public_config

SPACE: dict[str, Any] = {
    "name": "s",
    "data": {
        "source": {
            "layout": "phantom",
            "phantom": {"kind": "source", "n_subjects": 4, "shape": [16, 16, 16]},
            "n_val": 1,
        },
        "target": {
            "layout": "phantom",
            "phantom": {"kind": "target", "n_subjects": 8, "shape": [16, 16, 16]},
            "n_val": 1,
            "n_test": 2,
        },
    },
    "fixed": {"source.n_seeds": 3, "train_size": 3},
}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def sweep(storage: Path, *overrides: str, **grid: list[Any]) -> Sweep:
    return build_sweep(load_space({**SPACE, "grid": grid}, overrides), storage)


def stages(found: Sweep) -> dict[str, int]:
    names = [node.stage for node in found.nodes.values()]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_every_shared_stage_is_one_node(storage: Path) -> None:
    found = sweep(
        storage,
        method=["random_init", "fine_tune", "freeze_middle", "deep_weight_prior"],
        train_size=[2, 3],
        split=[0, 1],
    )
    assert stages(found) == {"target": 16, "source": 3, "harvest": 1, "prior": 7}
    assert len(found.targets) == 16


def test_parents_come_before_children(storage: Path) -> None:
    seen: set[str] = set()
    for node in sweep(storage, method=["deep_weight_prior", "fine_tune"]).nodes.values():
        assert {key for _, key in node.parents} <= seen
        seen.add(node.key)


def test_random_init_needs_nothing_and_fine_tuning_one_source_network(storage: Path) -> None:
    assert stages(sweep(storage, "method=random_init")) == {"target": 1}
    assert stages(sweep(storage, "method=fine_tune")) == {"source": 1, "target": 1}


@pytest.mark.parametrize(
    ("method", "override"),
    [
        ("fine_tune", ()),
        ("freeze_middle", ()),
        ("l2_sp", ()),
        ("noise_only", ("noise_only.init=source",)),
        ("gaussian_prior", ("gaussian_prior.init=source",)),
        ("deep_weight_prior", ("dwp.init=source",)),
    ],
)
def test_the_source_network_follows_the_split_modulo_their_number(
    storage: Path, method: str, override: tuple[str, ...]
) -> None:
    found = sweep(storage, f"method={method}", *override, split=[0, 1, 2, 3, 4])
    assert source_seeds(found) == [0, 1, 2, 0, 1]
    named = sweep(storage, f"method={method}", *override, "source.member=2", split=[0, 1])
    assert source_seeds(named) == [2, 2]


def test_a_source_member_is_a_setting_of_those_who_start_from_one(storage: Path) -> None:
    found = sweep(storage, method=["random_init", "fine_tune"], **{"source.member": ["split", 0, 1]})
    assert stages(found) == {"source": 2, "target": 4}
    shown = [public_config("target", found.nodes[key].config).get("source") for key in found.targets]
    assert shown == [None, {"member": "split"}, {"member": 0}, {"member": 1}]


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ("3", "member 3 is not trained: there is a source network for each seed from 0 to 2"),
        ("-1", r"source\.member = -1: must be split or the number"),
        ("true", r"source\.member = true: must be split or the number"),
        ("all", r"source\.member = \"all\": must be split or the number"),
    ],
)
def test_a_source_member_that_is_none_is_refused(member: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        load_space({**SPACE, "grid": {"method": ["fine_tune"]}}, (f"source.member={member}",))


def source_seeds(found: Sweep) -> list[int]:
    """The source seed that each target starts from."""
    nodes = [found.nodes[key] for key in found.targets]
    return [found.nodes[node.inputs["source"][0][1]].labels["seed"] for node in nodes]


def test_a_parameter_that_a_method_does_not_read_makes_no_second_node(storage: Path) -> None:
    found = sweep(storage, method=["random_init", "deep_weight_prior"], **{"dwp.kl_weight": [1e-6, 1e-5]})
    assert stages(found) == {"target": 3, "source": 3, "harvest": 1, "prior": 7}


@pytest.mark.parametrize(
    ("kind", "field", "values"),
    [
        ("mixture", "prior.latent_dim", [2, 6]),
        ("mixture", "prior.max_epochs", [10, 20]),
        ("mixture", "prior.head", ["free", "tanh"]),
        ("vae", "prior.n_components", [2, 6]),
        ("vae", "prior.shrinkage", [0.0, 10.0]),
    ],
)
def test_what_a_kind_of_prior_does_not_read_makes_no_new_prior(
    storage: Path, kind: str, field: str, values: list[Any]
) -> None:
    found = sweep(storage, "method=deep_weight_prior", f"prior.kind={kind}", **{field: values})
    assert stages(found)["prior"] == 7 and stages(found)["target"] == 1


@pytest.mark.parametrize(
    ("kind", "field", "values"),
    [
        ("mixture", "prior.n_components", [2, 6]),
        ("mixture", "prior.log_var_floor", [-4.0, -6.0]),
        ("mixture", "prior.standardise", ["filter", "layer"]),
        ("mixture", "prior.held_out", [0.1, 0.2]),
        ("mixture", "prior.seed", [0, 1]),
        ("vae", "prior.kl_warmup_epochs", [0, 3]),
        ("vae", "prior.batch_size", [20, 40]),
    ],
)
def test_what_a_kind_of_prior_reads_makes_new_priors(
    storage: Path, kind: str, field: str, values: list[Any]
) -> None:
    found = sweep(storage, "method=deep_weight_prior", f"prior.kind={kind}", **{field: values})
    assert stages(found)["prior"] == 14


def test_a_latent_dimension_makes_new_priors_on_the_same_bank(storage: Path) -> None:
    found = sweep(storage, "method=deep_weight_prior", **{"prior.latent_dim": [2, 6]})
    assert stages(found) == {"source": 3, "harvest": 1, "prior": 14, "target": 2}


def test_more_seeds_keep_the_source_nodes_that_are_there(storage: Path) -> None:
    few, many = (sweep(storage, "method=deep_weight_prior", f"source.n_seeds={n}") for n in (2, 3))
    sources = [{key for key, node in one.nodes.items() if node.stage == "source"} for one in (few, many)]
    assert sources[0] < sources[1]


@pytest.mark.parametrize(
    "override",
    [
        "compute.device=cpu",
        "resources.target.cpu=2",
        "name=other",
        "target.checkpoint_every=5",
        "max_failures=0",
    ],
)
def test_what_changes_no_result_changes_no_key(storage: Path, override: str) -> None:
    assert (
        sweep(storage, "method=fine_tune").nodes.keys()
        == sweep(storage, "method=fine_tune", override).nodes.keys()
    )


@pytest.mark.parametrize(
    "override",
    [
        "compute.precision=bf16",
        "target.lr=0.01",
        "seed=1",
        "split=1",
        "loss.ce_weight=0.5",
        "source.weight_decay=0",
        "data.target.preprocess.percentiles=[1,99]",
        "data.target.phantom.seed=1",
    ],
)
def test_what_changes_results_changes_the_target_key(storage: Path, override: str) -> None:
    assert sweep(storage, "method=fine_tune").targets != sweep(storage, "method=fine_tune", override).targets


def test_the_same_scans_in_another_folder_give_the_same_keys(storage: Path, tmp_path: Path) -> None:
    here = sweep(storage, "method=random_init")
    elsewhere = build_sweep(load_space(SPACE, ["method=random_init"]), tmp_path / "other")
    assert here.targets == elsewhere.targets


def test_nodes_survive_being_written_and_read(storage: Path, tmp_path: Path) -> None:
    for node in sweep(storage, "method=deep_weight_prior").nodes.values():
        assert node_of(json.loads(json.dumps(node_values(node)))) == node


def test_too_few_subjects_are_counted(storage: Path) -> None:
    with pytest.raises(InputError, match="8"):
        sweep(storage, train_size=[3, 6])


def test_a_method_that_needs_source_networks_says_that_source_data_are_missing(storage: Path) -> None:
    space = {**SPACE, "data": {"target": SPACE["data"]["target"]}, "fixed": {"method": "fine_tune"}}
    with pytest.raises(InputError, match=r"data\.source: is missing.*fine_tune"):
        build_sweep(load_space(space), storage)


def test_source_data_that_no_method_reads_are_not_looked_at(storage: Path) -> None:
    space = {**SPACE, "data": {**SPACE["data"], "source": {"layout": "msd", "root": "/nowhere"}}}
    assert stages(build_sweep(load_space(space, ["method=random_init"]), storage)) == {"target": 1}
    with pytest.raises(InputError, match="/nowhere"):
        build_sweep(load_space(space, ["method=fine_tune"]), storage)


def data_problems(storage: Path, **changes: Any) -> tuple[list[str], list[str]]:
    """Lines of problems, and what was said to be checked."""
    said: list[str] = []
    with pytest.raises(InputError) as caught:
        build_sweep(load_space({**SPACE, **changes}), storage, lambda what, *_: said.append(what))
    return str(caught.value).splitlines(), list(dict.fromkeys(said))


def test_one_missing_folder_of_two_tasks_is_told_for_each_of_them(tmp_path: Path) -> None:
    task = {"layout": "msd", "root": "/nowhere"}
    lines, _ = data_problems(
        tmp_path, data={"source": task, "target": task}, fixed={"method": "fine_tune", "train_size": 3}
    )
    assert [line.split(": ")[:2] for line in lines] == [
        ["data.source.root", "/nowhere"],
        ["data.target.root", "/nowhere"],
    ]


def test_a_root_that_is_not_given_is_told_for_each_task(tmp_path: Path) -> None:
    task = {"layout": "msd"}
    lines, _ = data_problems(tmp_path, data={"source": task, "target": task}, fixed={"method": "fine_tune"})
    assert [line.split(": ")[0] for line in lines] == ["data.source.root", "data.target.root"]


@pytest.fixture
def broken_scans(storage: Path, tmp_path: Path) -> Path:
    """A folder of eight subjects, the first image cut short."""
    config = next(iter(sweep(storage, "method=random_init").nodes.values())).config["dataset"]
    root = tmp_path / "scans"
    shutil.copytree(config["root"], root)
    image = min((root / "imagesTr").glob("*.nii*"))
    image.write_bytes(image.read_bytes()[:100])
    return root


def test_too_few_subjects_and_bad_scans_are_told_together(broken_scans: Path, tmp_path: Path) -> None:
    task = {"layout": "msd", "root": str(broken_scans), "n_val": 1, "n_test": 2}
    data = {"source": {**task, "n_val": 20}, "target": task}
    lines, said = data_problems(tmp_path / "runs", data=data, fixed={"method": "fine_tune", "train_size": 6})
    assert said == [f"checking data.source {broken_scans}", f"checking data.target {broken_scans}"]
    assert [line.split(": ")[0] for line in lines] == ["data.source"] * 2 + ["data.target"] * 2
    assert ["fewer than" in line for line in lines] == [True, False, True, False]


def test_a_lost_scan_and_too_few_subjects_are_told_together(broken_scans: Path, tmp_path: Path) -> None:
    max((broken_scans / "labelsTr").glob("*.nii*")).unlink()
    task = {"layout": "msd", "root": str(broken_scans), "n_val": 1, "n_test": 2}
    lines, _ = data_problems(
        tmp_path / "runs", data={"target": task}, fixed={"method": "random_init", "train_size": 6}
    )
    assert len(lines) == 3 and all(line.startswith("data.target: ") for line in lines)


def test_brought_outputs_and_data_are_told_together_before_a_scan_is_read(
    broken_scans: Path, tmp_path: Path
) -> None:
    task = {"layout": "msd", "root": str(broken_scans), "n_val": 1, "n_test": 2}
    lines, said = data_problems(
        tmp_path / "runs",
        data={"target": task},
        fixed={"prior.path": "/no/priors", "train_size": 9},
        grid={"method": ["fine_tune", "deep_weight_prior"]},
    )
    assert said == []
    assert [line.split(": ")[0] for line in lines] == ["data.source", "prior.path", "data.target"]
    assert "fewer than" in lines[-1]


def test_every_output_that_is_brought_in_vain_is_told(tmp_path: Path) -> None:
    fixed = {"source.network": "/no/net", "harvest.bank": "/no/bank", "train_size": 3}
    lines, _ = data_problems(
        tmp_path,
        data={"target": SPACE["data"]["target"]},
        fixed=fixed,
        grid={"method": ["fine_tune", "deep_weight_prior"]},
    )
    assert [line.split(": ")[0] for line in lines] == ["source.network", "harvest.bank"]


def test_a_missing_split_file_is_told_by_its_key(storage: Path) -> None:
    target = {**SPACE["data"]["target"], "split_file": "/no/splits.csv"}
    lines, _ = data_problems(storage, data={"target": target})
    assert len(lines) == 1 and lines[0].startswith("data.target.split_file: /no/splits.csv")


def test_warnings_name_their_task(storage: Path, tmp_path: Path) -> None:
    conditions = load_space(
        {**SPACE, "data": {"target": {**SPACE["data"]["target"], "labels": [9], "label_set": [1, 2, 9]}}}
    ).conditions
    for _ in ("checked", "remembered"):
        warnings = prepare_datasets(conditions, tmp_path).warnings
        assert warnings and all(warning.startswith("data.target: ") for warning in warnings)


@pytest.fixture
def one_root(tmp_path: Path) -> dict[str, Any]:
    """Ten scans of one folder for the source, and one of them among the target's."""
    root = tmp_path / "scans"
    write_phantom(PhantomConfig(n_subjects=12, shape=(16, 16, 16)), root)
    task = {"layout": "msd", "root": str(root), "n_val": 1}
    return {"source": {**task, "subjects": "0:6"}, "target": {**task, "subjects": "5:12", "n_test": 2}}


def test_scans_in_source_and_target_are_refused_before_anything_starts(
    one_root: dict[str, Any], tmp_path: Path
) -> None:
    fixed = {"method": "fine_tune", "train_size": 2}
    for _ in ("checked", "remembered"):
        (line,), _ = data_problems(tmp_path / "runs", data=one_root, fixed=fixed)
        assert "1 of 7 target scans are source scans too" in line and line.count("_0005.nii.gz") == 1


def test_scans_in_both_tasks_may_be_allowed_by_name(one_root: dict[str, Any], tmp_path: Path) -> None:
    fixed = {"method": "fine_tune", "train_size": 2}
    allowed = load_space(
        {**SPACE, "data": one_root, "fixed": fixed}, ["data.allow_shared_scans=true"]
    ).conditions

    assert any(
        "1 of 7 target scans" in text for text in prepare_datasets(allowed, tmp_path / "runs").warnings
    )


def test_scans_in_both_tasks_matter_only_where_source_networks_are_trained(
    one_root: dict[str, Any], tmp_path: Path
) -> None:
    fixed = {"method": "random_init", "train_size": 2}
    conditions = load_space({**SPACE, "data": one_root, "fixed": fixed}).conditions

    assert not any(
        "source scans" in text for text in prepare_datasets(conditions, tmp_path / "runs").warnings
    )


def test_a_data_set_beside_an_imported_network_says_on_which_scans_that_was_trained(
    one_root: dict[str, Any], tmp_path: Path
) -> None:
    fixed = {"method": "fine_tune", "train_size": 2, "source.network": str(tmp_path / "net")}
    shared = load_space({**SPACE, "data": one_root, "fixed": fixed}).conditions
    with pytest.raises(InputError, match="1 of 7 target scans are source scans too"):
        prepare_datasets(shared, tmp_path / "runs")

    turned = {**one_root["source"], "subjects": "0:5", "preprocess": {"orientation": "SRA"}, "n_val": 50}
    conditions = load_space({**SPACE, "data": {**one_root, "source": turned}, "fixed": fixed}).conditions
    (warning,) = prepare_datasets(conditions, tmp_path / "runs").warnings
    assert "orientation is SRA in the source" in warning


def test_a_missing_data_set_of_an_imported_network_is_a_warning(
    one_root: dict[str, Any], tmp_path: Path
) -> None:
    fixed = {"method": "fine_tune", "train_size": 2, "source.network": str(tmp_path / "net")}
    data = {**one_root, "source": {"layout": "msd", "root": str(tmp_path / "elsewhere")}}
    conditions = load_space({**SPACE, "data": data, "fixed": fixed}).conditions
    (warning,) = prepare_datasets(conditions, tmp_path / "runs").warnings
    assert warning.startswith("data.source.root: ") and "nothing says whether" in warning


def test_a_target_scan_that_is_there_twice_is_refused_unless_allowed(
    one_root: dict[str, Any], tmp_path: Path
) -> None:
    images = Path(one_root["target"]["root"]) / "imagesTr"
    shutil.copy(min(images.glob("*_0007.nii.gz")), min(images.glob("*_0009.nii.gz")))
    space = {"data": {"target": one_root["target"]}, "fixed": {"train_size": 2}}

    (line,), _ = data_problems(tmp_path / "runs", **space)
    assert line.startswith("data.target: 1 pair of scans") and "_0009.nii.gz" in line
    allowed = load_space({**SPACE, **space}, ["data.allow_shared_scans=true"]).conditions
    assert prepare_datasets(allowed, tmp_path / "runs").warnings


def test_orientations_that_differ_are_a_warning_of_the_sweep(storage: Path) -> None:
    turned = ["method=fine_tune", "data.source.preprocess={orientation: SRA}"]

    assert any("orientation is SRA in the source" in text for text in sweep(storage, *turned).warnings)
    assert not any("orientation" in text for text in sweep(storage, "method=fine_tune").warnings)


def test_splits_that_validate_on_the_same_scans_are_a_warning(storage: Path) -> None:
    (warning,) = sweep(storage, "method=random_init", "data.target.n_test=4", split=[0, 1]).warnings
    assert warning.startswith("data.target: ") and "share at least 1 of their 1 validation scans" in warning
    assert sweep(storage, "method=random_init", split=[0, 1]).warnings == ()


def test_conditions_that_score_other_scans_are_a_warning(storage: Path) -> None:
    (warning,) = sweep(storage, "method=random_init", **{"data.target.n_val": [1, 2]}).warnings
    assert warning.startswith("the conditions differ in data.target.n_val: they score other scans")
    sizes = sweep(storage, "method=random_init", train_size=[2, 3], split=[0, 1])
    assert not any("conditions differ" in text for text in sizes.warnings)


def test_stages_stand_in_the_order_of_the_pipeline_whatever_the_grid_names_first(storage: Path) -> None:
    found = sweep(storage, method=["random_init", "deep_weight_prior", "fine_tune"])
    assert next(iter(found.nodes.values())).stage == "target"  # random init needs nothing
    assert pipeline_order(found.nodes.values()) == ("source", "harvest", "prior", "target")


def searched(*overrides: str, **grid: list[Any]) -> Any:
    search = {"target.lr": {"float": [1e-4, 1e-2]}, "dwp.kl_weight": {"float": [1e-7, 1e-3]}}
    return load_space({**SPACE, "grid": grid, "search": search}, overrides)


def test_a_searched_field_that_one_method_does_not_read_is_told(storage: Path) -> None:
    found = build_sweep(searched(method=["random_init", "deep_weight_prior"]), storage)
    assert [line for line in found.warnings if "search." in line] == [
        "search.dwp.kl_weight changes no network of method=random_init: give it a when"
    ]
    assert not found.nodes and not found.targets, "trying values on asks for nothing"


def test_a_searched_field_that_no_method_reads_is_refused(storage: Path) -> None:
    with pytest.raises(InputError, match=r"search.dwp.kl_weight changes no network") as caught:
        build_sweep(searched(method=["random_init", "fine_tune"]), storage)
    assert len(caught.value.problems) == 1

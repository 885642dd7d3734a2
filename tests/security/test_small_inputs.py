"""Small inputs that stand for very much: refused by the documented error, without the memory they stand for.

One child process reads them: it may take half a gigabyte more than it has after its imports.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from pydantic import BaseModel
from safetensors.torch import save_file

from dwp_sweep.cli import main
from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.config.sections import ResourcesConfig, SpaceFile
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import build_sweep
from dwp_sweep.errors import InputError
from dwp_sweep.nets.kernel_prior import KernelPrior, load_prior, save_prior
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.net_files import load_net, read_net_facts, save_net
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.strict import LARGEST
from dwp_sweep.tracking.read.configuration import Configuration, same_value, select_rows
from dwp_sweep.tracking.read.rows import NodeRow
from tests.cli.command import ROOT

ROW = NodeRow("k", "target", "done", {"train_size": 5}, {}, {})
DEMO = ROOT / "search_spaces" / "demo.yaml"
CHILD = """
import json, resource, sys
from pathlib import Path
from dwp_sweep.config.space import load_space
from dwp_sweep.nets.kernel_prior import load_prior
from dwp_sweep.nets.net_files import load_net

status = Path("/proc/self/status").read_text()
taken = int(next(line for line in status.splitlines() if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**29,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
said = {}
for name, (what, path, overrides) in json.load(sys.stdin).items():
    try:
        if what == "space":
            load_space(path, overrides)
        else:
            {"net": load_net, "prior": load_prior}[what](Path(path))
        said[name] = "read"
    except Exception as error:
        said[name] = f"{type(error).__name__} {error}"
print(json.dumps(said))
"""
BOMB = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
MERGES = [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
INNER = [f"&{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]" for n in range(9)]
AXES = ("train_size", "split", "seed", "target.patience", "target.max_epochs", "prior.patience",
        "source.patience", "prior.max_epochs")  # fmt: skip
GRID = [f"  {axis}: [{', '.join(map(str, range(1, 21)))}]" for axis in AXES]
FILES = {
    "aliases": ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", *BOMB],
    "merge keys": ["a0: &a0 {k: 1}", *MERGES],
    "deep lists": ["a: " + "[" * 60_000],
    "deep mappings": ["a: " + "{b: " * 200 + "1" + "}" * 200],
    "dotted key": ["fixed: {" + ".".join("a" * 400) + ": 1}"],
    "grid": ["data: {target: {layout: phantom}}", "grid:", *GRID],
}
OVERRIDES = {
    "override of aliases": f"grid.seed=[&a [1,1,1,1,1,1,1,1,1,1], {', '.join(INNER)}]",
    "deep override": "grid.seed=" + "[" * 60_000,
    "dotted override": ".".join("a" * 3_000) + "=1",
}
SIZES = {"huge": 10**9, "beyond": 10**30, "negative": -1, "broken": 2.5, "truth": True}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process with little memory says to each input."""
    folder = tmp_path_factory.mktemp("small")
    cases: dict[str, tuple[str, str, list[str]]] = {}
    for name, lines in FILES.items():
        (folder / f"{name}.yaml").write_text("\n".join(lines))
        cases[name] = ("space", str(folder / f"{name}.yaml"), [])
    cases |= {name: ("space", str(DEMO), [text]) for name, text in OVERRIDES.items()}
    with (folder / "scan.yaml").open("wb") as file:
        file.truncate(10**10)
    cases["large file"] = ("space", str(folder / "scan.yaml"), [])
    for name, channels in (("million", 10**6), ("many", 2_048)):
        net = UNet3D(channels=(2, 2, 2, 2))
        save_net(net, net.config, folder / name)
        facts = json.loads((folder / name / "net.json").read_text())
        facts["unet"]["channels"] = [channels] * 4
        (folder / name / "net.json").write_text(json.dumps(facts))
        cases[name] = ("net", str(folder / name), [])
    for name, size in SIZES.items():
        save_prior(KernelPrior(1, KernelVAE(), {"init_conv": 1.0}), folder / name)
        facts = json.loads((folder / name / "prior.json").read_text())
        (folder / name / "prior.json").write_text(json.dumps(facts | {"latent_dim": size}))
        cases[name] = ("prior", str(folder / name), [])
    child = [sys.executable, "-c", CHILD]
    done = subprocess.run(
        child, input=json.dumps(cases), capture_output=True, text=True, timeout=240, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("name", ["aliases", "merge keys", "override of aliases"])
def test_aliases_of_aliases_are_counted_and_not_written_out(said: dict[str, str], name: str) -> None:
    assert len("\n".join(FILES.get(name, OVERRIDES.get(name, "")))) < 1_200
    assert said[name].startswith("InputError") and "at most 20,000 are read" in said[name]
    assert f"{name}.yaml" in said[name] or "--set grid.seed=" in said[name]


@pytest.mark.parametrize(
    "name", ["deep lists", "deep mappings", "dotted key", "deep override", "dotted override"]
)
def test_what_is_nested_without_end_is_refused(said: dict[str, str], name: str) -> None:
    assert said[name].startswith("InputError")
    assert "nested too deeply, in more than 50 levels" in said[name]


def test_a_grid_is_counted_before_it_is_made(said: dict[str, str]) -> None:
    assert said["grid"].startswith("InputError")
    assert "25,600,000,000 conditions (train_size 20 x split 20" in said["grid"]
    assert "at most 50,000" in said["grid"]


def test_a_large_file_is_not_read(said: dict[str, str]) -> None:
    assert "10,000,000,000 bytes, and at most 1,000,000 are read" in said["large file"]


@pytest.mark.parametrize(
    ("name", "reason"), [("million", "at most 2048"), ("many", "do not fit the description")]
)
def test_a_network_file_of_many_channels_is_refused_before_it_takes_memory(
    said: dict[str, str], name: str, reason: str
) -> None:
    assert said[name].startswith("ValueError") and reason in said[name]


@pytest.mark.parametrize("name", SIZES)
def test_a_prior_file_of_a_huge_model_is_refused(said: dict[str, str], name: str) -> None:
    assert said[name].startswith("ValueError")
    assert ("whole numbers are at most" if name == "beyond" else "from 1 to 1000") in said[name]


def test_values_given_from_python_are_bounded_as_a_file_is() -> None:
    deep: dict[str, Any] = {}
    deep["data"] = deep
    with pytest.raises(InputError, match="a value contains itself"):
        load_space({"name": "mine", **deep})
    with pytest.raises(InputError, match="at most 20,000 are read"):
        load_space({"name": "mine", "grid": {"seed": list(range(30_000))}})


def numeric_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and type of every field that takes a number."""
    for name, field in model.model_fields.items():
        types = (field.annotation, *getattr(field.annotation, "__args__", ()))
        models = [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for inner in models:
            yield from numeric_keys(inner, f"{prefix}{name}.")
        if not models and ("int" in (text := str(field.annotation)) or "float" in text):
            yield prefix + name, text


KEYS = {
    **dict(numeric_keys(EXPERIMENT)),
    **dict(numeric_keys(SpaceFile)),
    **dict(numeric_keys(ResourcesConfig, "resources.target.")),
    "budget.wall": "text",
}


def phantom(kind: str, **settings: int) -> dict[str, Any]:
    generated = {"kind": kind, "n_subjects": 8, "shape": [16, 16, 16]}
    return {"layout": "phantom", "n_val": 2, "phantom": generated, **settings}


SPACE = {
    "name": "mine",
    "data": {"source": phantom("source"), "target": phantom("target", n_test=2)},
    "fixed": {"method": "deep_weight_prior", "train_size": 2},
}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.mark.parametrize("key", KEYS)
def test_no_number_of_any_key_ends_in_anything_but_a_problem_that_names_it(key: str, storage: Path) -> None:
    length = 4 if key == "unet.channels" else 3 if "shape" in key or "spacing" in key else 2
    for number in (str(10**30), ".nan", "-1e400", str(LARGEST)):
        value = f"[{', '.join([number] * length)}]" if "tuple" in KEYS[key] else number
        value = number + "d" if key == "budget.wall" else value
        try:
            build_sweep(load_space(SPACE, [f"{key}={value}"]), storage)
        except InputError as error:
            text, name = str(error), key.rpartition(".")[2]
            assert name in text or "nothing is searched for" in text, text
        else:
            assert number == str(LARGEST), f"{key} takes {number}"


@pytest.mark.parametrize(
    "distribution",
    [
        f"{{int: [1, {10**30}]}}",
        f"{{choice: [1, {10**30}]}}",
        "{float: [0, 1], step: 1e-300}",
        "{float: [0.0, .inf]}",
        "{float: [1, 1e400]}",
    ],
)
def test_no_range_of_a_search_is_without_end(distribution: str) -> None:
    with pytest.raises(InputError, match=r"search\.target\.(lr|patience)"):
        load_space(SPACE, [f"search.target.lr={distribution}"])


@pytest.mark.parametrize("name", ["net", "prior"])
def test_a_description_that_is_nested_without_end_is_no_readable_file(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.json").write_text("[" * 100_000)
    save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="nested too deeply"):
        (load_net if name == "net" else load_prior)(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        "plan x.yaml --slots",
        "run x.yaml --max-concurrent",
        "run x.yaml --wait-for-machines",
        "cancel x --wait",
        "retrain x --seed",
        "bench --threads",
        "data phantom x --kind source --n-subjects",
        "data phantom x --kind source --seed",
        "data check x --layout ms --shape",
        "data check x --layout ms --spacing",
        "data check x --layout ms --window",
    ],
)
def test_an_option_takes_no_number_without_end(words: str, tmp_path: Path) -> None:
    option = words.rsplit(maxsplit=1)[-1]
    form = {"--shape": "{},16,16", "--spacing": "{},1,1", "--window": "0,{}"}.get(option, "{}")
    arguments = words.replace(" x ", f" {tmp_path} ").split()
    for number in (str(10**30), "nan", "1e400", "9" * 5_000):
        done = CliRunner().invoke(main, [*arguments, form.format(number)])
        assert done.exit_code == 2, (done.output, done.exception)
        assert option in done.output or option[2:] in done.output


@pytest.mark.parametrize("value", [str(10**30), "nan", "1e400", "9" * 5_000, "[" * 100_000, "{" * 100_000])
def test_a_condition_without_end_is_a_value_that_no_run_has(value: str) -> None:
    assert not same_value("5", value) and not same_value(5, value)
    with pytest.raises(InputError, match="no target run has train_size="):
        select_rows([(ROW, Configuration({"train_size": 5}, "c"))], {"train_size": value}, "mine")


ODD = ("1" + "0" * 400, "NaN", "Infinity", "-Infinity", "1e400", '"x"', "true", "[1]")


@pytest.mark.parametrize("number", ODD)
def test_no_number_of_a_description_is_without_end(tmp_path: Path, number: str) -> None:
    net = UNet3D(channels=(2, 2, 2, 2))
    save_net(net, net.config, tmp_path)
    save_prior(KernelPrior(1, KernelVAE(), {"init_conv": 1.0}), tmp_path)
    for name, keys, read in (
        ("net", {"background": '"ODD"', "unet": '{"in_channels": "ODD"}'}, read_net_facts),
        ("prior", {"group": '"ODD"', "log_var_floor": '"ODD"', "scale": '{"init_conv": "ODD"}'}, load_prior),
    ):
        path = tmp_path / f"{name}.json"
        facts = path.read_text()
        for key, value in keys.items():
            changed = {**json.loads(facts), key: json.loads(value)}
            path.write_text(json.dumps(changed).replace('"ODD"', number))
            with pytest.raises(ValueError, match=rf"{name}\.json"):
                read(tmp_path)


def test_a_list_of_scans_that_is_nested_without_end_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"training": ' + "[" * 100_000)
    space = {"name": "mine", "data": {"target": {"layout": "msd", "root": str(tmp_path)}}}
    with pytest.raises(InputError, match=r"dataset\.json.*nested too deeply"):
        build_sweep(load_space(space), tmp_path / "storage")

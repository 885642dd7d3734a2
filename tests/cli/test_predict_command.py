"""``dwp-sweep predict``: what it prints and refuses. What it computes is tested in tests/prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dwp_sweep.cli import main
from dwp_sweep.metrics.temperature import Temperature
from tests.prediction.conftest import KEY, add_target, save_scan, scan, storage, voxels  # noqa: F401


def predict(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def image(tmp_path: Path, scan) -> Path:  # noqa: F811
    return save_scan(tmp_path / "t2.nii.gz", scan)


def test_the_mask_and_its_volume_are_told(add_target, storage, image, tmp_path):  # noqa: F811
    done = predict(add_target(), image, "-o", tmp_path / "m.nii.gz", "--storage", storage, "--device", "cpu")

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{tmp_path}/m.nii.gz: ") and " ml, " in done.stdout
    assert "network: random_init, m = 5, split 0, seed 3" in done.stderr
    assert "note" not in done.stderr


def test_a_crop_that_loses_much_is_noted(add_target, storage, image, tmp_path):  # noqa: F811
    add_target(preprocess={"shape": [8, 8, 8]})
    done = predict(KEY, image, "-o", tmp_path / "m.nii.gz", "--storage", storage)

    assert "note: t2.nii.gz: the run's preprocess.shape crops 62% of what shows the patient" in done.stderr


def test_other_voxels_than_the_training_scans_are_noted(add_target, storage, image, tmp_path):  # noqa: F811
    for key, size in (("aa" * 10, [1.5, 1.0, 2.0]), ("bb" * 10, [1.5, 1.0, 1.2])):
        add_target(key, facts={"spacing_mm": size})
    alike = predict("aaaa", image, "-o", tmp_path / "a.nii.gz", "--storage", storage)
    other = predict("bbbb", image, "-o", tmp_path / "b.nii.gz", "--storage", storage)

    assert alike.exit_code == other.exit_code == 0
    assert "note" not in alike.stderr
    assert (
        "note: t2.nii.gz: its voxels are 1.5 x 1 x 2 mm, those of the training scans 1.5 x 1 x 1.2 mm"
        in other.stderr
    )


def test_a_folder_with_one_bad_scan_ends_with_1_and_names_it_and_what_was_left_out(
    add_target,  # noqa: F811
    storage,  # noqa: F811
    scan,  # noqa: F811
    tmp_path,
):
    for name, data in (("a", scan), ("b", 0 * scan), ("c", scan), ("a_seg", scan)):
        save_scan(tmp_path / "in" / f"{name}.nii.gz", data)

    done = predict(add_target(), tmp_path / "in", "-o", tmp_path / "out", "--storage", storage)

    assert done.exit_code == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.nii.gz", "c.nii.gz"}
    assert len(done.stdout.splitlines()) == 2
    assert "left out, named as masks: a_seg.nii.gz" in done.stderr
    end = done.stderr[done.stderr.index("1 of 3 scans cannot be used, the others are done:") :]
    assert "in/b.nii.gz: constant image" in end


def test_bad_input_ends_with_2_and_writes_nothing(add_target, storage, image, tmp_path):  # noqa: F811
    add_target()
    mask = tmp_path / "m.nii.gz"
    mask.write_bytes(b"mine")

    done = predict(KEY, image, "-o", mask, "--storage", storage)
    assert done.exit_code == 2 and "exists already" in done.stderr and "--force" in done.stderr
    assert mask.read_bytes() == b"mine"
    assert predict(KEY, image, "-o", mask, "--force", "--storage", storage).exit_code == 0
    assert mask.read_bytes() != b"mine"

    done = predict(KEY, image, "-o", tmp_path / "no" / "m.nii.gz", "--storage", storage)
    assert done.exit_code == 2 and "there is no folder" in done.stderr
    done = predict(KEY, image, "-o", tmp_path / "n.nii.gz", "--where", "train_size=5", "--storage", storage)
    assert done.exit_code == 2 and "--where train_size=5" in done.stderr


def test_the_estimate_of_a_bayesian_network_is_an_option(add_target, storage, image, tmp_path):  # noqa: F811
    key = add_target(log_var=-3.0)
    for estimate in ("draws", "mean"):
        output = tmp_path / f"{estimate}.nii.gz"
        assert predict(key, image, "-o", output, "--estimate", estimate, "--storage", storage).exit_code == 0
    predict(key, image, "-o", tmp_path / "default.nii.gz", "--storage", storage)

    masks = {name: voxels(tmp_path / f"{name}.nii.gz") for name in ("draws", "mean", "default")}
    assert (masks["draws"] != masks["mean"]).any()
    assert (masks["draws"] == masks["default"]).all()


@pytest.mark.parametrize("log_var", [None, -4.0])
def test_probabilities_are_at_the_run_s_temperature_unless_asked_otherwise(
    add_target,  # noqa: F811
    scan: np.ndarray,  # noqa: F811
    storage: Path,  # noqa: F811
    tmp_path: Path,
    log_var: float | None,
) -> None:
    key = add_target(log_var=log_var, temperature=Temperature(2.0, 3))
    image, asked = save_scan(tmp_path / "s.nii.gz", scan), dict[str, str]()

    def probability(name: str, *more: str) -> np.ndarray:
        mask, place = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_p.nii.gz"
        done = predict(key, image, "-o", mask, "--probability", place, *more, "--storage", storage)
        assert done.exit_code == 0, done.output
        asked[name] = done.output
        return voxels(place)

    by_default, plain = probability("default"), probability("plain", "--no-calibrate")
    mean = probability("mean", "--estimate", "mean")
    seen = (plain > 1e-6) & (plain < 1 - 1e-6)
    odds = np.log(plain[seen] / (1 - plain[seen]))
    np.testing.assert_allclose(by_default[seen], 1 / (1 + np.exp(-odds / 2)), atol=1e-4)
    np.testing.assert_array_equal(voxels(tmp_path / "default.nii.gz"), voxels(tmp_path / "plain.nii.gz"))
    assert "probabilities: at temperature 2, fitted on 3 validation scans" in asked["default"]
    assert "probabilities: as the network says them\n" in asked["plain"]
    if log_var is None:
        np.testing.assert_array_equal(mean, by_default)
    else:
        assert "the temperature is that of the mean over weight draws" in asked["mean"]

"""``data phantom`` and ``data check``, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dwp_sweep.cli import main
from tests.data.editions import write_edition


def data(*arguments: str | Path) -> Result:
    # Wide enough that no row of a table is folded.
    return CliRunner().invoke(main, ["data", *map(str, arguments)], env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantom"
    made = data(
        "phantom", folder, "--kind", "target", "--n-subjects", "3", "--shape", "16,16,16", "--seed", "5"
    )
    assert made.exit_code == 0, made.output
    assert f"3 subjects in {folder}" in made.stdout
    return folder


def test_a_phantom_is_a_folder_that_the_check_accepts(scans: Path) -> None:
    found = data("check", scans, "--layout", "msd")
    assert found.exit_code == 0, found.output
    assert found.stdout.count("16x16x16  12.1x12.1x12.1") == 3
    assert found.stdout.count("12.1x12.1x12.1          RAS") == 3
    assert "voxels     16x16x16 (3)" in found.stdout
    assert "axes       RAS (3)" in found.stdout
    assert "3 subjects, ready to use" in found.stdout


def test_the_same_seed_gives_the_same_files_and_another_does_not(scans: Path, tmp_path: Path) -> None:
    def images(folder: Path) -> list[bytes]:
        return [path.read_bytes() for path in sorted(folder.glob("imagesTr/*.nii*"))]

    for seed in ("5", "6"):
        options = ("--kind", "target", "--n-subjects", "3", "--shape", "16,16,16", "--seed", seed)
        assert data("phantom", tmp_path / seed, *options).exit_code == 0
    assert images(tmp_path / "5") == images(scans)
    assert all(a != b for a, b in zip(images(tmp_path / "6"), images(scans), strict=True))


def test_the_check_speaks_json_to_programs(scans: Path) -> None:
    found = data("check", scans, "--layout", "msd", "--subjects", "0:2", "--json")
    values = json.loads(found.stdout)
    assert [row["shape"] for row in values["subjects"]] == [[16, 16, 16]] * 2
    assert values["problems"] == []


def test_the_check_draws_a_picture(scans: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "overview.png"
    assert data("check", scans, "--layout", "msd", "--picture", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["overview.xyz", "overview", "png"])
def test_a_picture_of_an_unknown_kind_is_refused_before_a_scan_is_read(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a scan was read")

    monkeypatch.setattr("dwp_sweep.data.check.check.read_pair", read)
    found = data("check", scans, "--layout", "msd", "--picture", tmp_path / name)
    assert found.exit_code == 2
    assert "--picture" in found.stderr and name in found.stderr and ".png" in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_csv_is_called_a_file(tmp_path: Path) -> None:
    found = data("check", tmp_path / "ds.csv", "--layout", "pairs")
    assert found.exit_code == 2
    assert f"{tmp_path / 'ds.csv'}: there is no such file" in found.stderr
    assert "folder:" not in found.output


def test_all_problems_of_a_folder_come_at_once_and_no_picture(scans: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    assert (
        data("phantom", broken, "--kind", "target", "--n-subjects", "3", "--shape", "16,16,16").exit_code == 0
    )
    first, second, _ = sorted(broken.glob("imagesTr/*.nii*"))
    first.write_bytes(first.read_bytes()[:100])
    mask = next(broken.glob(f"labelsTr/{second.name}"))
    mask.unlink()
    found = data("check", broken, "--layout", "msd", "--picture", tmp_path / "no.png")
    assert found.exit_code == 2
    assert first.name in found.stdout
    assert mask.name in found.stdout
    assert "2 problems" in found.stdout
    assert not (tmp_path / "no.png").exists()
    assert len(json.loads(data("check", broken, "--layout", "msd", "--json").stdout)["problems"]) == 2


def brats(folder: Path, n: int) -> list[Path]:
    return [write_edition(folder, 2021, f"BraTS2021_0000{index}", seed=index) for index in range(n)]


def test_the_table_says_what_to_look_at_and_what_the_network_gets(tmp_path: Path) -> None:
    patients = brats(tmp_path / "set", 4)
    name = "{0}/{0.name}_{1}.nii.gz".format
    for modality in ("t2", "flair"):
        Path(name(patients[2], modality)).write_bytes(Path(name(patients[0], modality)).read_bytes())
    options = ("--layout", "brats", "--modality", "t2,flair", "--shape", "16,16,4", "--orientation", "SRA")

    found = data("check", tmp_path / "set", *options)

    assert found.exit_code == 0, found.output
    rows = {line.split()[0]: line for line in found.stdout.splitlines() if line.startswith("BraTS")}
    assert "same voxels as BraTS2021_00000" in rows["BraTS2021_00002"]
    assert "same voxels" not in rows["BraTS2021_00000"] + rows["BraTS2021_00001"]
    assert all("% cropped" in row for row in rows.values())
    assert "input      2 channels of 16x16x4 (4)" in found.stdout
    assert "labels     0,2,4 (4)" in found.stdout
    assert "4 subjects, ready to use, 4 of them worth a look" in found.stdout


def test_a_patient_without_a_modality_stands_in_the_table_and_in_the_problems(tmp_path: Path) -> None:
    patients = brats(tmp_path / "set", 3)
    (patients[1] / f"{patients[1].name}_flair.nii.gz").unlink()

    found = data("check", tmp_path / "set", "--layout", "brats", "--modality", "t2,flair")

    assert found.exit_code == 2
    (row,) = [line for line in found.stdout.splitlines() if line.startswith("BraTS2021_00001")]
    assert row.endswith("1 problem, below")
    assert "no image of modality 'flair'; the folder holds BraTS2021_00001_seg.nii.gz" in found.stdout
    assert "not usable as it is: 1 problem, 2 subjects without any" in found.stdout


def test_preprocessing_options_are_read_like_a_search_spaces_and_refused_together(tmp_path: Path) -> None:
    brats(tmp_path / "set", 1)
    bad = ("--window", "250,-200", "--orientation", "RRS", "--label-set", "0,1,2")
    found = data("check", tmp_path / "set", "--layout", "brats", *bad)
    assert found.exit_code == 2
    assert "preprocess.window" in found.stderr and "preprocess.orientation" in found.stderr

    windowed = data(
        "check", tmp_path / "set", "--layout", "brats", "--window", "-20,80", "--label-set", "1,2", "--json"
    )
    (problem,) = json.loads(windowed.stdout)["problems"]
    assert "label values 4 are not in the set [0, 1, 2]" in problem["what"]


def test_the_check_counts_patients_with_several_scans(tmp_path: Path) -> None:
    for visit in range(3):
        write_edition(tmp_path, 2023, f"BraTS-GLI-0000{visit // 2}-00{visit}", seed=visit)
    found = data("check", tmp_path, "--layout", "brats")
    assert "patients   2, some with several scans" in found.stdout
    alone = data("check", tmp_path, "--layout", "brats", "--patients", "scan")
    assert alone.exit_code == 0 and "several scans" not in alone.stdout
    wrong = data("check", tmp_path, "--layout", "brats", "--patients", "(P.)")
    assert wrong.exit_code == 2 and "does not fit 3 of 3 ids" in wrong.stdout


def test_the_check_of_a_search_space_finds_scans_in_both_tasks(scans: Path, tmp_path: Path) -> None:
    space = tmp_path / "mine.yaml"
    task = f"{{layout: msd, root: {scans}, n_val: 1, n_test: 1}}"
    space.write_text(
        f"data: {{source: {task}, target: {task}}}\nfixed: {{method: fine_tune, train_size: 1}}\n"
    )
    found = data("check", space, "--storage", tmp_path / "runs")
    assert found.exit_code == 2 and "3 of 3 target scans are source scans too" in found.stderr
    allowed = ("--set", "data.allow_shared_scans=true")
    found = data("check", space, "--storage", tmp_path / "runs", *allowed)
    assert found.exit_code == 0 and f"{space}: its scans are ready to use" in found.stdout
    assert "3 of 3 target scans are source scans too" in found.stderr


def test_options_of_a_folder_and_of_a_search_space_are_told_apart(tmp_path: Path) -> None:
    found = data("check", tmp_path / "mine.yaml", "--layout", "msd", "--labels", "1")
    assert found.exit_code == 2 and "--labels, --layout: of a folder" in found.stderr


def test_the_layout_of_a_folder_is_told_by_its_files(scans: Path, tmp_path: Path) -> None:
    assert data("check", scans).stdout == data("check", scans, "--layout", "msd").stdout
    (tmp_path / "notes.txt").touch()
    unknown = data("check", tmp_path)
    assert unknown.exit_code == 2 and "holds no NIfTI file, but notes.txt" in unknown.stderr

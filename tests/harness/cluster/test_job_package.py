"""What a submission asks for and takes along: checked here as far as it goes, no data, no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.harness.cluster.job_package import job_request, write_package

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "search_spaces" / "demo.yaml"
RAYS_LIMIT_BYTES = 100 * 2**20


def problems(*arguments: object, **options: object) -> str:
    with pytest.raises(InputError) as found:
        job_request(*arguments, **options)  # type: ignore[arg-type]
    return str(found.value)


def test_the_command_is_a_run_of_the_file_with_the_same_options() -> None:
    request = job_request(
        DEMO, ("target.lr=1e-3",), True, "/store", "http://mlflow:5000", retry_failed=False, max_concurrent=3
    )
    assert request.sweep == "demo-smoke"
    assert request.entrypoint == (
        "dwp-sweep run demo.yaml --set target.lr=1e-3 --smoke --storage /store "
        "--tracking-uri http://mlflow:5000 --no-retry-failed --max-concurrent 3"
    )


def test_without_places_the_clusters_own_environment_decides() -> None:
    assert job_request(DEMO).entrypoint == "dwp-sweep run demo.yaml"


def test_words_reach_the_clusters_shell_as_they_were_given() -> None:
    request = job_request(DEMO, ("grid.method=[random_init, fine_tune]",))
    assert request.entrypoint == "dwp-sweep run demo.yaml --set 'grid.method=[random_init, fine_tune]'"


def test_the_digest_tells_other_settings_and_other_files_apart(tmp_path: Path) -> None:
    copy = tmp_path / "demo.yaml"
    copy.write_text(DEMO.read_text())
    assert job_request(copy).digest == job_request(DEMO).digest
    assert job_request(DEMO, ("target.lr=1e-3",)).digest != job_request(DEMO).digest
    copy.write_text(DEMO.read_text() + "# more\n")
    assert job_request(copy).digest != job_request(DEMO).digest


def test_a_bad_search_space_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    assert "no such search-space file" in problems(tmp_path / "none.yaml")
    assert "target.lrr" in problems(DEMO, ("target.lrr=1",))


def test_paths_that_only_this_machine_knows_are_told_all_at_once() -> None:
    bring = ("source.network=nets/mine", "data.target.split_file=splits.csv")
    found = problems(DEMO, bring, storage="dwp_runs")
    assert "source.network = 'nets/mine'" in found
    assert "data.target.split_file = 'splits.csv'" in found
    assert "--storage dwp_runs" in found


@pytest.mark.parametrize("path", ["/data/nets", "~/nets", "runs:/0123abc", "s3://bucket/nets"])
def test_paths_that_the_cluster_may_know_are_left_to_it(path: str) -> None:
    assert path in job_request(DEMO, (f"source.network={path}",), storage="s3://bucket/runs").entrypoint


def test_a_password_is_kept_off_the_command_line_and_out_of_the_message() -> None:
    found = problems(DEMO, tracking_uri="postgresql://me:hunter2@host/db")
    assert "password" in found
    assert "hunter2" not in found


def test_passed_variables_do_not_show_in_the_request() -> None:
    request = job_request(DEMO, environment={"MLFLOW_TRACKING_PASSWORD": "hunter2"})
    assert "hunter2" not in repr(request)
    assert "hunter2" not in request.entrypoint


def test_the_package_holds_the_file_and_our_source_and_nothing_else(tmp_path: Path) -> None:
    n_bytes = write_package(job_request(DEMO), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"demo.yaml", "dwp_sweep"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".py", ".yaml", ".html", ".css", ".typed"}
    assert n_bytes == sum(len(path.read_bytes()) for path in files) < RAYS_LIMIT_BYTES / 20
    assert (tmp_path / "dwp_sweep" / "cli" / "__init__.py").is_file()


def test_an_installed_package_stays_at_home(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages" / "dwp_sweep"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    (tmp_path / "job").mkdir()
    write_package(job_request(DEMO), tmp_path / "job", installed)
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["demo.yaml"]


def test_a_password_in_the_file_or_in_an_override_does_not_travel(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:hunter2@host/studies"
    space = tmp_path / "searching.yaml"
    space.write_text(
        f"{DEMO.read_text()}\nsearch:\n  target.lr: {{float: [1e-4, 1e-3]}}\nsearcher:\n  storage: {url}\n"
    )
    with pytest.raises(InputError) as refused:
        job_request(space, ("searcher.storage=postgresql://me:hunter2@other/studies",))
    assert [problem.where.split(" line ")[0] for problem in refused.value.problems] == [str(space), "--set"]
    assert "PGPASSFILE" in str(refused.value) and "hunter2" not in str(refused.value)

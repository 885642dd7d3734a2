"""One job a sweep: started, attached to, continued, never doubled; its log once, its end in plain words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.harness.cluster import submission
from dwp_sweep.harness.cluster.job_package import JobRequest
from dwp_sweep.harness.cluster.submission import JobEnd, JobLostError, SubmittedJob, follow, submit


@dataclass
class Status:
    name: str

    def __str__(self) -> str:
        return self.name

    def is_terminal(self) -> bool:
        return self.name in ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass
class Details:
    submission_id: str | None
    status: Status
    metadata: dict[str, str] | None = None
    entrypoint: str = "dwp-sweep run toy.yaml"
    driver_exit_code: int | None = None
    message: str | None = None


@dataclass
class Server:
    """A job server: takes each id once; tells a log in pieces, and may break off."""

    jobs: list[Details] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    packages: list[set[str]] = field(default_factory=list)
    tails: list[list[str | Exception]] = field(default_factory=list)
    log: str = ""
    rival: Details | None = None

    def list_jobs(self) -> list[Details]:
        return list(self.jobs)

    def submit_job(self, **request: Any) -> str:
        if self.rival is not None:
            self.jobs.append(self.rival)
            self.rival = None
        if request["submission_id"] in {job.submission_id for job in self.jobs}:
            raise RuntimeError("Request failed with status code 500: ... already exists. Please use another")
        folder = Path(request["runtime_env"]["working_dir"])
        self.packages.append({path.name for path in folder.iterdir()})
        self.requests.append(request)
        self.jobs.append(Details(request["submission_id"], Status("PENDING"), request["metadata"]))
        return str(request["submission_id"])

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        for piece in self.tails.pop(0) if self.tails else []:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def get_job_info(self, job_id: str) -> Details:
        for job in self.jobs:
            if job.submission_id == job_id:
                return job
        raise RuntimeError(f"Request failed with status code 404: Job {job_id} does not exist.")

    def get_job_logs(self, job_id: str) -> str:
        return self.log


@pytest.fixture
def request_(tmp_path: Path) -> JobRequest:
    (tmp_path / "toy.yaml").write_text("name: toy\n")
    return JobRequest("toy", tmp_path / "toy.yaml", "dwp-sweep run toy.yaml", "d1")


def job(number: int, status: str, digest: str = "d1", sweep: str = "toy") -> Details:
    return Details(f"dwp-sweep.{sweep}.{number}", Status(status), {"dwp.sweep": sweep, "dwp.request": digest})


def test_a_sweep_becomes_a_job_named_after_it(request_: JobRequest) -> None:
    server = Server()
    started = submit(server, request_)  # type: ignore[arg-type]
    assert (started.id, started.is_new) == ("dwp-sweep.toy.1", True)
    (sent,) = server.requests
    assert sent["entrypoint"] == "dwp-sweep run toy.yaml"
    assert sent["metadata"] == {"dwp.sweep": "toy", "dwp.request": "d1"}
    assert set(sent["runtime_env"]) == {"working_dir"}
    assert not Path(sent["runtime_env"]["working_dir"]).exists()  # gone once it was sent
    assert server.packages == [{"toy.yaml", "dwp_sweep"}]


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_second_submission_attaches_to_the_job_that_runs(request_: JobRequest, status: str) -> None:
    server = Server([job(1, "FAILED"), job(2, status)])
    assert submit(server, request_) == SubmittedJob("dwp-sweep.toy.2", False)  # type: ignore[arg-type]
    assert server.requests == []


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_after_the_end_of_a_job_another_one_goes_on(request_: JobRequest, status: str) -> None:
    others = [
        job(9, "RUNNING", sweep="toy-smoke"),
        Details("mine", Status("RUNNING")),
        Details(None, Status("RUNNING")),
    ]
    server = Server([job(1, "SUCCEEDED"), job(10, status), *others])
    assert submit(server, request_).id == "dwp-sweep.toy.11"  # type: ignore[arg-type]


def test_of_two_that_submit_at_once_one_attaches_to_the_others_job(request_: JobRequest) -> None:
    server = Server(rival=job(1, "PENDING"))
    assert submit(server, request_) == SubmittedJob("dwp-sweep.toy.1", False)  # type: ignore[arg-type]
    assert server.requests == []


def test_a_running_sweep_with_other_settings_is_no_match(request_: JobRequest) -> None:
    with pytest.raises(InputError, match=r"runs on the cluster as job dwp-sweep\.toy\.3 with other settings"):
        submit(Server([job(3, "RUNNING", "d2")]), request_)  # type: ignore[arg-type]


def test_what_the_server_says_of_a_job_it_does_not_take_is_told(
    request_: JobRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> str:
        raise RuntimeError(
            'Request failed with status code 500: Traceback:\\n  File "x"\\nValueError: no room'
        )

    server = Server()
    monkeypatch.setattr(server, "submit_job", refuse)
    with pytest.raises(InputError, match="the cluster does not take the job: ValueError: no room"):
        submit(server, request_)  # type: ignore[arg-type]


def followed(server: Server, patience_s: float = 60.0) -> tuple[JobEnd, list[str]]:
    pieces: list[str] = []
    return follow(server, "dwp-sweep.toy.1", pieces.append, patience_s), pieces  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_POLL_S", 0.0)


def test_each_part_of_the_log_is_written_once_though_the_connection_breaks() -> None:
    done = job(1, "SUCCEEDED")
    broken: list[str | Exception] = ["one\n", "two\n", RuntimeError("WebSocket connection closed")]
    server = Server([done], tails=[broken, ["one\ntwo\nth", "ree\n"]], log="one\ntwo\nthree\nfour\n")
    end, pieces = followed(server)
    assert end == JobEnd(0)
    assert pieces == ["one\n", "two\n", "th", "ree\n", "four\n"]


@pytest.mark.parametrize("code", [1, 2, 3, 130])
def test_the_sweeps_own_exit_code_is_returned(code: int) -> None:
    done = job(1, "FAILED")
    done.driver_exit_code = code
    assert followed(Server([done]))[0] == JobEnd(code)


@pytest.mark.parametrize("code", [None, -9, 137])
def test_a_job_that_died_says_so(code: int | None) -> None:
    done = job(1, "FAILED")
    done.driver_exit_code, done.message = code, "the node of the driver is gone"
    end, _ = followed(Server([done]))
    assert end.exit_code == 1
    assert end.died.startswith("the job died") and end.died.endswith("the node of the driver is gone")


def test_a_job_that_was_stopped_says_so() -> None:
    assert followed(Server([job(1, "STOPPED")]))[0] == JobEnd(130, "the job was stopped")


def test_a_cluster_that_forgot_the_job_is_told_at_once() -> None:
    with pytest.raises(JobLostError, match="knows no job"):
        followed(Server())


def test_patience_with_a_cluster_that_does_not_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()

    def gone(_: str) -> Details:
        raise ConnectionError("refused")

    monkeypatch.setattr(server, "get_job_info", gone)
    with pytest.raises(JobLostError, match="has not answered for 0 s: refused"):
        followed(server, patience_s=0.0)

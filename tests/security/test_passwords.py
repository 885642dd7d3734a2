"""What is shown of addresses that hold passwords, and of messages that hold secrets of the environment."""

from __future__ import annotations

import pytest

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.passwords import SECRET_VARIABLES, without_secrets


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql+psycopg://me:se:cr@et/x@host/db", "postgresql+psycopg://me:***@host/db"),
        ("redis://:secret@host", "redis://:***@host"),
        ("cannot reach http://me:secret@host, and 'http://me:other@host'",
         "cannot reach http://me:***@host, and 'http://me:***@host'"),
        ("postgresql://host/db?user=me&password=secret&sslmode=require",
         "postgresql://host/db?user=me&password=***&sslmode=require"),
        ("host=db password=secret", "host=db password=***"),
    ],
)  # fmt: skip
def test_passwords_are_starred(given: str, shown: str) -> None:
    assert without_secrets(given) == shown
    assert without_secrets(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/experiments/1",
        "http://host:5000/path/me@there",
        "sqlite:////tmp/a b/mlflow.db",
        "s3://bucket/path:1/x@2",
        "file:///home/me@lab:8/x",
        "me@lab: target.lr=1e-3",
        "postgresql://me@host:5432/db",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize("name", SECRET_VARIABLES)
def test_the_values_of_secret_variables_are_starred(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "s3cret-of-mine")
    assert without_secrets("asked with s3cret-of-mine, refused") == "asked with ***, refused"
    monkeypatch.setenv(name, "a")
    assert without_secrets("a word") == "a word"


def test_no_problem_holds_a_password() -> None:
    problem = Problem("--tracking-uri http://a:bb@c", "got http://a:bb@c", "not http://a:bb@c")
    assert "bb" not in str(InputError(problem)) + repr(problem)

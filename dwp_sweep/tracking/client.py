"""Clients of MLflow, made here alone: which server or database, whose runs, how its errors read."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.passwords import without_secrets
from dwp_sweep.store.open_store import folder_of
from dwp_sweep.tracking.mlflow_format import STORAGE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
_QUIET = {
    # A client of a dead server retries for minutes by default: training would wait for it.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_CONNECTION_WORDS = {
    "NameResolutionError": "the host's name is not known",
    "Connection refused": "the connection is refused",
    "Read timed out": "it does not answer in time",
    "ConnectTimeout": "it does not answer in time",
    "out-of-date database schema": "the database is of another version of MLflow: run mlflow db upgrade",
}
_OWN_DATABASE = "."


def resolve_uri(uri: str | None, storage: str | Path) -> str:
    """The tracking URI to use; relative SQLite paths become absolute, since workers live elsewhere.

    Raises:
        InputError: None is given, and the storage is no folder that could hold a database.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        folder = folder_of(storage)
        if folder is None:
            what = f"results on {storage} need an MLflow of their own: its default, a file, cannot lie there"
            fix = "give --tracking-uri, or set MLFLOW_TRACKING_URI, as in http://HOST:5000"
            raise InputError(Problem("--tracking-uri", what, fix))
        return sqlite_uri(folder / "mlflow.db")
    path, (_, mark, query) = sqlite_path(uri), uri.partition("?")
    return uri if path is None else f"{sqlite_uri(path)}{mark}{query}"


def sqlite_uri(path: Path) -> str:
    """The URI of an SQLite file, as SQLAlchemy reads it.

    What has a meaning in an URI is percent-encoded, and braces, which Optuna takes for fields of a format.
    Such an URI names its driver, too: of one of ``sqlite:///`` MLflow makes the folder of the encoded name.

    >>> sqlite_uri(Path("/data/runs/mlflow.db")), sqlite_uri(Path("/data/50% done?/mlflow.db"))
    ('sqlite:////data/runs/mlflow.db', 'sqlite+pysqlite:////data/50%25 done%3F/mlflow.db')
    """
    text = re.sub(r"[%?#{}]", lambda match: quote(match[0]), str(path))
    return f"sqlite:///{text}" if text == str(path) else f"sqlite+pysqlite:///{text}"


def sqlite_path(uri: str) -> Path | None:
    """The absolute file behind an ``sqlite:///`` URI; None for any other."""
    match = re.fullmatch(r"sqlite(?:\+pysqlite)?:///([^?]+)(?:\?(.*))?", uri, re.DOTALL)
    # With uri=true SQLite reads the name of the file as an URI of its own.
    return Path(unquote(match[1])).resolve() if match and "uri=" not in (match[2] or "") else None


def runs_come_from(tags: Mapping[str, str], uri: str, storage: str) -> bool:
    """Whether all runs of a sweep in MLflow were logged from one storage, so that its records say as much.

    Args:
        tags: Of the sweep's parent run; one without `STORAGE_TAG` in a storage's own database is trusted.
        uri: MLflow's tracking URI.
        storage: The storage, a resolved folder or an URL.
    """
    own = storage_name(uri, storage)
    return tags.get(STORAGE_TAG, _OWN_DATABASE) == own


def mlflow_client(uri: str) -> MlflowClient:
    """A client with an explicit URI, short patience and no telemetry.

    Settings of the user's environment win over ours. They are set here, since MLflow reads some of
    them when it is first imported.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's dependencies warn on import; users cannot act on it
        from mlflow import MlflowClient
    for name in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def shown_uri(uri: str) -> str:
    """The URI without the password that it may hold."""
    return without_secrets(uri)


def one_line(error: BaseException, limit: int = 240) -> str:
    """What an error says in one line, cut; failed connections in plain words."""
    for sign, words in _CONNECTION_WORDS.items():
        if sign in str(error):
            return words
    lines = str(error).strip().splitlines()
    text = without_secrets(lines[0]) if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def storage_name(uri: str, storage: str) -> str:
    """Names a storage in MLflow; one whose folder holds the database stays the same where both are moved."""
    path = sqlite_path(uri)
    return _OWN_DATABASE if path is not None and str(path.parent) == storage else storage

"""Where the studies of a sweep are kept: a SQLite file in its folder, or a database that is given.

Knows nothing of what a study asks.
"""

from __future__ import annotations

import hashlib

import optuna

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.store.remote import is_url
from dwp_sweep.store.store import Store

_MAX_NAME = 400
_SQLITE_WAIT_S = 60


def storage_url(store: Store, sweep: str, given: str | None) -> str:
    """The database of a sweep's studies: the given one, else a file in the sweep's folder.

    Raises:
        InputError: None is given, and the storage is no folder that could hold one.
    """
    if given is None and is_url(store.place):
        what = f"a search on {store.place} needs a database of its studies that is not on S3"
        fix = "set it to one that the driver reaches, as in postgresql+psycopg://USER@HOST/DATABASE"
        raise InputError(Problem("searcher.storage", what, fix))
    return given or f"sqlite:///{store.root / 'sweeps' / sweep / 'optuna.db'}"


def study_name(sweep: str, condition: str) -> str:
    """Name of a condition's study; a long one is cut and told apart by a hash."""
    name = f"{sweep}/{condition}"
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[:_MAX_NAME]}...{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Connect to a database of studies; makes its tables on first use.

    Raises:
        InputError: No database answers there.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of every study and trial
    arguments = {"connect_args": {"timeout": _SQLITE_WAIT_S}} if url.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    except Exception as error:  # whatever the driver of that database raises
        lines = str(error).strip().splitlines() or [type(error).__name__]
        what = f"no database of studies answers: {lines[0]}"
        fix = "give an URL as SQLAlchemy takes it, or leave it out"
        if isinstance(error, ImportError):
            fix = "install its driver (for PostgreSQL: pip install 'dwp-sweep[server]')"
        raise InputError(Problem("searcher.storage", what, fix)) from None

"""Which way of transferring knowledge works best for a few labelled scans: sweeps, answers, networks.

The names below are the public API. They are imported on first use, so that ``import dwp_sweep`` and
``dwp-sweep --help`` load neither torch nor Ray nor MLflow.
"""

from __future__ import annotations

import getpass
import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dwp_sweep.api import Notify as Notify
    from dwp_sweep.api import best_config as best_config
    from dwp_sweep.api import best_configs as best_configs
    from dwp_sweep.api import explain as explain
    from dwp_sweep.api import export_model as export_model
    from dwp_sweep.api import gc as gc
    from dwp_sweep.api import init as init
    from dwp_sweep.api import load_model as load_model
    from dwp_sweep.api import load_prior as load_prior
    from dwp_sweep.api import pareto_front as pareto_front
    from dwp_sweep.api import plan_cost as plan_cost
    from dwp_sweep.api import plan_sweep as plan_sweep
    from dwp_sweep.api import predict as predict
    from dwp_sweep.api import predict_folder as predict_folder
    from dwp_sweep.api import register_model as register_model
    from dwp_sweep.api import results as results
    from dwp_sweep.api import retrain_best as retrain_best
    from dwp_sweep.api import run_sweep as run_sweep
    from dwp_sweep.api import search_figures as search_figures
    from dwp_sweep.api import search_report as search_report
    from dwp_sweep.api import status as status
    from dwp_sweep.api import sweeps as sweeps
    from dwp_sweep.api import sync as sync

__version__ = "0.1.0"

_PUBLIC = (
    "Notify",
    "best_config",
    "best_configs",
    "explain",
    "export_model",
    "gc",
    "init",
    "load_model",
    "load_prior",
    "pareto_front",
    "plan_cost",
    "plan_sweep",
    "predict",
    "predict_folder",
    "register_model",
    "results",
    "retrain_best",
    "run_sweep",
    "search_figures",
    "search_report",
    "status",
    "sweeps",
    "sync",
)
__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module("dwp_sweep.api"), name)
    raise AttributeError(f"module 'dwp_sweep' has no attribute {name!r}; public names: {', '.join(__all__)}")


def _name_user() -> None:
    """Give a user without a name one: containers run under numbers, and MONAI's import asks for a name."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid{os.getuid()}"


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


_name_user()

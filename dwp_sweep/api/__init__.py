"""The public functions: compose config, harness, tracking and report into whole answers.

Top of the package, beside the command line, which adds nothing but printing. Computes nothing itself.
"""

from __future__ import annotations

from dwp_sweep.api.exporting import Export, Registered, export_model, register_model
from dwp_sweep.api.initial import FirstSweep, init
from dwp_sweep.api.looking import Cleaning, NodeComparison, explain, gc, sweeps
from dwp_sweep.api.planning import plan_cost, plan_sweep
from dwp_sweep.api.predicting import predict, predict_folder
from dwp_sweep.api.running import SweepRun, retrain_best, run_sweep, status
from dwp_sweep.api.tracking import search_figures, search_report, sync
from dwp_sweep.harness.notifier import Notify
from dwp_sweep.tracking.read.best import best_config
from dwp_sweep.tracking.read.conditions import best_configs
from dwp_sweep.tracking.read.files import load_model, load_prior
from dwp_sweep.tracking.read.pareto import pareto_front
from dwp_sweep.tracking.read.reader import results

__all__ = [
    "Cleaning",
    "Export",
    "FirstSweep",
    "NodeComparison",
    "Notify",
    "Registered",
    "SweepRun",
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
]

from __future__ import annotations

import pytest

from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.harness.dag.resources import Admission, Resources, impossible, resources_of, slots

LAPTOP = [Resources(2, 0)]
GPU_SERVER = [Resources(16, 4)]


@pytest.mark.parametrize(
    ("shape", "machines", "expected"),
    [
        (Resources(1, 0), LAPTOP, 2),
        (Resources(0.5, 0), LAPTOP, 4),
        (Resources(0.1, 0), [Resources(1, 0)], 10),
        (Resources(3, 0), [Resources(4, 0), Resources(4, 0)], 2),
        (Resources(1, 0.25), GPU_SERVER, 16),
        (Resources(8, 1), GPU_SERVER, 2),
        (Resources(1, 1), LAPTOP, 0),
    ],
)
def test_slots_are_counted_machine_by_machine(
    shape: Resources, machines: list[Resources], expected: int
) -> None:
    assert slots(shape, machines) == expected


def test_without_a_word_networks_take_a_gpu_where_there_is_one_and_priors_share_it() -> None:
    assert resources_of("target", {}, has_gpu=True).gpu == 1.0
    assert resources_of("prior", {}, has_gpu=True).gpu == 0.25
    assert resources_of("harvest", {}, has_gpu=True).gpu == 0.0
    assert resources_of("target", {}, has_gpu=False).gpu == 0.0
    assert resources_of("target", {"target": ResourcesConfig(cpu=2, gpu=0.5)}, has_gpu=False) == Resources(
        2, 0.5
    )


def test_resources_that_no_machine_has_are_named_with_what_there_is() -> None:
    problems = impossible({"prior": Resources(1, 0), "target": Resources(1, 1)}, LAPTOP)
    assert [problem.where for problem in problems] == ["resources.target"]
    assert "1 GPUs" in problems[0].what and "has 2 and 0" in problems[0].what


def admitted(admission: Admission, shape: Resources) -> int:
    n = 0
    while admission.admits(shape):
        admission.take(f"{shape} {n}", shape)
        n += 1
    return n


def test_what_fits_and_one_more_is_admitted() -> None:
    assert admitted(Admission(lambda: LAPTOP), Resources(1, 0)) == 3


def test_each_shape_has_its_own_spare_so_that_gpu_nodes_do_not_starve_others() -> None:
    admission = Admission(lambda: GPU_SERVER)
    assert admitted(admission, Resources(1, 1)) == 5
    assert admitted(admission, Resources(1, 0)) == 13


def test_the_end_of_a_trial_lets_the_spare_one_run_and_admits_another() -> None:
    admission = Admission(lambda: LAPTOP)
    admitted(admission, Resources(1, 0))
    admission.release(f"{Resources(1, 0)} 0")
    assert admission.admits(Resources(1, 0))
    admission.take("fourth", Resources(1, 0))
    assert not admission.admits(Resources(1, 0))


def test_the_users_bound_holds_with_no_spare_beyond_it() -> None:
    assert admitted(Admission(lambda: LAPTOP, max_concurrent=1), Resources(1, 0)) == 1


def test_a_growing_cluster_is_used() -> None:
    machines = list(LAPTOP)
    admission = Admission(lambda: machines)
    admitted(admission, Resources(1, 0))
    machines.append(Resources(2, 0))
    assert admission.admits(Resources(1, 0))

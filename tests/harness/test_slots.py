from __future__ import annotations

import pytest

from dwp_sweep.config.resources import Resources
from dwp_sweep.harness.slots import Admission, Shape, impossible, shape_of, slots

LAPTOP = [Shape(2, 0)]
GPU_SERVER = [Shape(16, 4)]


@pytest.mark.parametrize(
    ("shape", "machines", "expected"),
    [
        (Shape(1, 0), LAPTOP, 2),
        (Shape(0.5, 0), LAPTOP, 4),
        (Shape(0.1, 0), [Shape(1, 0)], 10),
        (Shape(3, 0), [Shape(4, 0), Shape(4, 0)], 2),
        (Shape(1, 0.25), GPU_SERVER, 16),
        (Shape(8, 1), GPU_SERVER, 2),
        (Shape(1, 1), LAPTOP, 0),
    ],
)
def test_slots_are_counted_machine_by_machine(shape: Shape, machines: list[Shape], expected: int) -> None:
    assert slots(shape, machines) == expected


def test_without_a_word_networks_take_a_gpu_where_there_is_one_and_priors_share_it() -> None:
    assert shape_of("target", {}, has_gpu=True).gpu == 1.0
    assert shape_of("prior", {}, has_gpu=True).gpu == 0.25
    assert shape_of("harvest", {}, has_gpu=True).gpu == 0.0
    assert shape_of("target", {}, has_gpu=False).gpu == 0.0
    assert shape_of("target", {"target": Resources(cpu=2, gpu=0.5)}, has_gpu=False) == Shape(2, 0.5)


def test_resources_that_no_machine_has_are_named_with_what_there_is() -> None:
    problems = impossible({"prior": Shape(1, 0), "target": Shape(1, 1)}, LAPTOP)
    assert [problem.where for problem in problems] == ["resources.target"]
    assert "1 GPUs" in problems[0].what and "has 2 and 0" in problems[0].what


def admitted(admission: Admission, shape: Shape) -> int:
    n = 0
    while admission.admits(shape):
        admission.take(f"{shape} {n}", shape)
        n += 1
    return n


def test_what_fits_and_one_more_is_admitted() -> None:
    assert admitted(Admission(lambda: LAPTOP), Shape(1, 0)) == 3


def test_each_shape_has_its_own_spare_so_that_gpu_nodes_do_not_starve_others() -> None:
    admission = Admission(lambda: GPU_SERVER)
    assert admitted(admission, Shape(1, 1)) == 5
    assert admitted(admission, Shape(1, 0)) == 13


def test_the_end_of_a_trial_lets_the_spare_one_run_and_admits_another() -> None:
    admission = Admission(lambda: LAPTOP)
    admitted(admission, Shape(1, 0))
    admission.release(f"{Shape(1, 0)} 0")
    assert admission.admits(Shape(1, 0))
    admission.take("fourth", Shape(1, 0))
    assert not admission.admits(Shape(1, 0))


def test_the_users_bound_holds_with_no_spare_beyond_it() -> None:
    assert admitted(Admission(lambda: LAPTOP, max_concurrent=1), Shape(1, 0)) == 1


def test_a_growing_cluster_is_used() -> None:
    machines = list(LAPTOP)
    admission = Admission(lambda: machines)
    admitted(admission, Shape(1, 0))
    machines.append(Shape(2, 0))
    assert admission.admits(Shape(1, 0))

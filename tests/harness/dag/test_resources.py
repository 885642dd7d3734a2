from __future__ import annotations

import pytest

from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.errors import InputError
from dwp_sweep.harness.dag.resources import Admission, Resources, impossible, resources_of, slots
from dwp_sweep.strict import parse

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


GB = 1e9
CLUSTER = [
    Resources(8, 1, 64 * GB, (("accelerator_type:T4", 1.0), ("large_disk", 2.0))),
    Resources(8, 1, 256 * GB, (("accelerator_type:A100", 1.0),)),
]


def asked(**settings: object) -> Resources:
    return resources_of("target", {"target": parse(ResourcesConfig, settings, "test")}, has_gpu=True)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"gpu": 0}, 16),
        ({"gpu": 0, "memory": 60}, 5),
        ({"gpu": 0.1, "memory": 200}, 1),
        ({"gpu": 0.25, "accelerator_type": "A100"}, 4),
        ({"gpu": 0.25, "accelerator_type": "H100"}, 0),
        ({"gpu": 0, "custom": {"large_disk": 1}}, 2),
        ({"gpu": 0, "custom": {"large_disk": 3}}, 0),
        ({"memory": 128, "accelerator_type": "T4"}, 0),
    ],
)
def test_memory_types_and_declared_resources_count_machine_by_machine(
    settings: dict[str, object], expected: int
) -> None:
    assert slots(asked(**settings), CLUSTER) == expected


def test_ray_is_asked_by_its_own_names() -> None:
    assert asked(cpu=2, memory=1.5, accelerator_type="A100", custom={"large_disk": 1}).bundle == {
        "CPU": 2.0,
        "GPU": 1.0,
        "memory": 1.5e9,
        "accelerator_type:A100": 0.001,
        "large_disk": 1.0,
    }


def test_what_no_machine_has_is_named_by_its_dotted_key_with_what_there_is() -> None:
    by_stage = {
        "source": asked(accelerator_type="H100"),
        "prior": asked(custom={"large_disk": 3, "tape": 1}),
        "target": asked(memory=300),
    }
    problems = [str(problem) for problem in impossible(by_stage, CLUSTER)]
    assert len(problems) == 4
    starts = (
        "resources.source.accelerator_type = H100: no machine has it: there are A100, T4",
        "resources.prior.custom.large_disk = 3: no machine has it: at most 2",
        "resources.prior.custom.tape = 1: no machine has it: no machine declares it",
        "resources.target: asks for 1 CPUs and 1 GPUs and 300 GB of memory; the largest machine has 8 and 1 "
        "and 256 GB of memory",
    )
    for problem, start in zip(problems, starts, strict=True):
        assert problem.startswith(start)


def test_no_more_trials_are_admitted_than_the_memory_holds() -> None:
    assert admitted(Admission(lambda: CLUSTER), Resources(1, 0, 60 * GB)) == 5 + 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"memory": 0}, "resources.target.memory = 0"),
        ({"memory": "16GB"}, "resources.target.memory"),
        ({"accelerator_type": "a 100"}, "resources.target.accelerator_type"),
        ({"accelerator_type": "A100", "gpu": 0}, "leave one out"),
        ({"custom": {"GPU": 1}}, "resources.STAGE.gpu"),
        ({"custom": {"node:10.0.0.1": 1}}, "Ray's own"),
        ({"custom": {"disk": 0}}, "positive number"),
        ({"custom": {"disk": float("nan")}}, "resources.target.custom.disk = NaN"),
        ({"max_hours": 0}, "resources.target.max_hours = 0"),
    ],
)
def test_resources_that_make_no_sense_are_told_by_their_key(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(ResourcesConfig, settings, "space.yaml", "resources.target")
    assert words in str(caught.value)

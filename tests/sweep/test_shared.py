"""sae_b=shared: B is encoded with A's dictionaries, which A's side makes."""

import pytest

from saeuniv.preflight import preflight
from saeuniv.stages.dictionaries import TrainDictionaries
from saeuniv.stages.encode import Encode

SHARED = ("sae_a=tiny", "width_a=64", "sae_b=shared", "control=none", "metrics=[raw_correlation]")


def test_dictionaries_are_trained_once_on_a_and_read_by_both(make_plan):
    work = make_plan(*SHARED)
    (training,) = (task for task in work.tasks if isinstance(task, TrainDictionaries))
    assert training.model.label.endswith("_s0") and len(training.outputs) == 2
    first, second = sorted(
        (task for task in work.tasks if isinstance(task, Encode)), key=lambda task: task.model.label
    )
    assert [each.dictionary.key for each in first.latents] == [each.dictionary.key for each in second.latents]
    assert {*training.outputs} <= {*first.inputs} & {*second.inputs}
    assert not {each.path for each in first.outputs} & {each.path for each in second.outputs}
    assert second.model.label.endswith("_s1") and second.model.artifact in second.inputs


def test_what_only_b_compares_is_trained_with_a(make_plan):
    work = make_plan(*SHARED, "layers.a=0", "layers.b=0,1", "-m")
    (training,) = (task for task in work.tasks if isinstance(task, TrainDictionaries))
    needed = {
        each.dictionary.artifact.path
        for task in work.tasks
        if isinstance(task, Encode)
        for each in task.latents
        if each.dictionary.artifact
    }
    assert needed == {output.path for output in training.outputs}


def test_the_control_of_a_shared_comparison_shares_too(make_plan):
    work = make_plan("sae_a=tiny", "width_a=64", "sae_b=shared", "metrics=[raw_correlation]")
    trainings = [task for task in work.tasks if isinstance(task, TrainDictionaries)]
    assert sorted("untrained" in task.model.label for task in trainings) == [False, True]


@pytest.mark.parametrize("lines", [(), ("layers.b=0",)])
def test_models_of_other_widths_cannot_share(lines):
    argv = (*SHARED, "b.d_model=32", *lines)
    assert any(
        "sae_b=shared: expected models of one width, got d_model=64 (tiny_s0) and 32 (tiny_d32l4_s1)" in fault
        for fault in preflight(argv).faults
    )

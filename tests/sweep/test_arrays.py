"""Tasks into jobs, jobs into arrays: who waits for what, and how much a job does."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeuniv.stages.task import STAGES, Task
from saeuniv.sweep.arrays import Array, arrays, by_stage
from tests.sweep.dummies import Dummy, made


@dataclass(frozen=True)
class Score(Dummy):
    """Of a stage whose short tasks share jobs."""

    stage: ClassVar[str] = "scores"


@dataclass(frozen=True)
class Encode(Dummy):
    """Of a stage whose tasks have a job each."""

    stage: ClassVar[str] = "latents"


@dataclass(frozen=True)
class Report(Dummy):
    """Of a stage whose tasks wait for the end of others, however it was."""

    stage: ClassVar[str] = "report"
    needs_all: ClassVar[bool] = False


@dataclass(frozen=True)
class Sweep(Report):
    """Of the last stage."""

    stage: ClassVar[str] = "sweep"


def task(name: str, of: type[Dummy] = Score, seconds: float = 1.0) -> Dummy:
    return of(Path(), (), (made(name),), seconds, name)


def tasks(names: str, of: type[Dummy] = Score, seconds: float = 1.0) -> list[Dummy]:
    return [task(name, of, seconds) for name in names]


def jobs(found: Iterable[Array]) -> list[list[str]]:
    """The names of the tasks of each job, array by array."""
    return [["".join(each.label for each in job) for job in array.jobs] for array in found]


def nothing(task: Task) -> frozenset[str]:
    return frozenset()


def waiting(needs: Mapping[str, str]):
    """What tasks wait for, by their names: ids between blanks."""
    return lambda task: frozenset(needs.get(task.label, "").split())


def test_tasks_that_wait_for_the_same_jobs_are_one_array() -> None:
    needs = waiting({"a": "28_0 28_1", "b": "28_1 28_0", "c": "28_1", "d": "28_0 28_1"})
    found = arrays(tasks("abcde"), needs, job_seconds=0.0, max_size=99)
    assert jobs(found) == [["a", "b", "d"], ["c"], ["e"]]
    assert [array.needs for array in found] == [{"28_0", "28_1"}, {"28_1"}, set()]
    assert {array.stage for array in found} == {"scores"}


def test_short_tasks_share_a_job_until_it_takes_long_enough() -> None:
    five = tasks("abcde", seconds=2.0)
    assert jobs(arrays(five, nothing, job_seconds=4.0, max_size=99)) == [["ab", "cd", "e"]]
    assert jobs(arrays(five, nothing, job_seconds=5.9, max_size=99)) == [["ab", "cd", "e"]]
    assert jobs(arrays(five, nothing, job_seconds=6.0, max_size=99)) == [["abc", "de"]]
    assert jobs(arrays(five, nothing, job_seconds=99.0, max_size=99)) == [["abcde"]]
    long = [task("a"), task("b", seconds=50.0), task("c"), task("d")]
    assert jobs(arrays(long, nothing, job_seconds=10.0, max_size=99)) == [["a", "b", "cd"]]


def test_with_no_time_for_jobs_each_task_has_its_own() -> None:
    assert jobs(arrays(tasks("abc"), nothing, job_seconds=0.0, max_size=99)) == [["a", "b", "c"]]


def test_tasks_that_cost_nothing_are_put_in_jobs_as_well() -> None:
    assert jobs(arrays(tasks("abc", seconds=0.0), nothing, job_seconds=5.0, max_size=99)) == [["abc"]]
    assert jobs(arrays(tasks("abc", seconds=0.0), nothing, job_seconds=0.0, max_size=99)) == [["a", "b", "c"]]


def test_jobs_hold_only_tasks_that_wait_for_the_same() -> None:
    found = arrays(tasks("abcd"), waiting({"b": "7", "d": "7"}), job_seconds=99.0, max_size=99)
    assert jobs(found) == [["ac"], ["bd"]]


@pytest.mark.parametrize("of", [Score, Report])
def test_stages_that_nothing_needs_whole_share_jobs(of: type[Dummy]) -> None:
    assert jobs(arrays(tasks("abc", of), nothing, job_seconds=99.0, max_size=99)) == [["abc"]]


@pytest.mark.parametrize("of", [Encode, Sweep, Dummy])
def test_a_failure_cancels_only_what_needs_it(of: type[Dummy]) -> None:
    # A job that holds two such tasks would, where one fails, cancel what needs only the other.
    assert jobs(arrays(tasks("abc", of), nothing, job_seconds=99.0, max_size=99)) == [["a", "b", "c"]]


def test_an_array_is_no_larger_than_slurm_takes() -> None:
    assert jobs(arrays(tasks("abcdefg"), nothing, job_seconds=0.0, max_size=3)) == [
        ["a", "b", "c"],
        ["d", "e", "f"],
        ["g"],
    ]
    # Jobs are counted, not tasks.
    found = arrays(tasks("abcdefg"), waiting({"g": "5"}), job_seconds=2.0, max_size=2)
    assert jobs(found) == [["ab", "cd"], ["ef"], ["g"]]
    assert [array.needs for array in found] == [set(), set(), {"5"}]


def test_what_jobs_wait_for_in_slurms_words() -> None:
    needs = waiting({"a": "28_10 32 28_2 9", "c": "28_10 28_2"})
    alone, waits = arrays([task("b"), task("a")], needs, job_seconds=0.0, max_size=9)
    assert waits.dependency == "afterok:9:28_2:28_10:32"
    assert alone.dependency is None
    (report,) = arrays([task("c", Report)], needs, job_seconds=0.0, max_size=9)
    assert report.dependency == "afterany:28_2:28_10"
    (summary,) = arrays([task("c", Sweep)], needs, job_seconds=0.0, max_size=9)
    assert summary.dependency == "afterany:28_2:28_10"


def test_stages_come_in_the_order_in_which_one_needs_another() -> None:
    mixed = [*tasks("ab", Sweep), *tasks("cd", Report), *tasks("ef"), *tasks("g", Encode), *tasks("h")]
    found = by_stage(mixed)
    assert [[each.label for each in stage] for stage in found] == [
        ["g"],
        ["e", "f", "h"],
        ["c", "d"],
        ["a", "b"],
    ]
    assert [stage[0].stage for stage in found] == sorted({each.stage for each in mixed}, key=STAGES.index)
    assert by_stage([]) == []


@given(
    seconds=st.lists(st.floats(0, 100), max_size=30),
    needs=st.lists(st.sampled_from(["", "1", "2", "1 2"]), min_size=30, max_size=30),
    job_seconds=st.floats(0, 150),
    max_size=st.integers(1, 5),
)
def test_every_task_is_in_one_job_and_no_two_jobs_could_be_one(
    seconds: list[float], needs: list[str], job_seconds: float, max_size: int
) -> None:
    made = [task(str(place), seconds=cost) for place, cost in enumerate(seconds)]
    found = arrays(
        made,
        lambda each: frozenset(needs[int(each.label)].split()),
        job_seconds=job_seconds,
        max_size=max_size,
    )
    assert sorted(int(each.label) for array in found for job in array.jobs for each in job) == [
        *range(len(made))
    ]
    for array in found:
        assert 1 <= len(array.jobs) <= max_size
        for job in array.jobs:
            assert len(job) == 1 or sum(each.seconds for each in job) <= job_seconds * (1 + 1e-9)
            assert all(frozenset(needs[int(each.label)].split()) == array.needs for each in job)
        for one, two in itertools.pairwise(array.jobs):
            together = sum(each.seconds for each in one) + two[0].seconds
            assert together > job_seconds * (1 - 1e-9) or not job_seconds

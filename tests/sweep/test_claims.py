"""Claims: one winner whoever else asks, and nothing left of who lost."""

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saeuniv.stages.serial import task_json
from saeuniv.store.processes import host
from saeuniv.sweep import claims
from saeuniv.sweep.claims import Note
from tests.sweep.dummies import dummy, made

ROUNDS = 40


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep.dummies")
    return tmp_path


def files(root: Path) -> set[str]:
    """What is there, names of keys aside: a.json, a.task.json ..."""
    keys = {dummy(root, name).key: name for name in "abcd"}
    parts = (path.name.split(".") for path in (root / "jobs").iterdir())
    return {".".join([keys.get(first, first), *rest]) for first, *rest in parts}


def test_a_claim_says_who_makes_what_where_and_for_whom(root: Path) -> None:
    a, b = dummy(root, "a"), replace(dummy(root, "b", "a"), outputs=(made("b"), made("c")))
    found = claims.claim(root, [[a], [b, dummy(root, "d")]], token="saeuniv-1", sweep="mine")
    assert [(each.key, each.place) for each in found] == [(a.key, 0), (b.key, 1), (dummy(root, "d").key, 1)]
    claim = found[1]
    assert (claim.stage, claim.label, claim.token, claim.sweep) == ("dummy", "b", "saeuniv-1", "mine")
    assert claim.outputs == (made("b").path, made("c").path)
    assert (claim.host, claim.pid) == (host(), os.getpid())
    assert 0 <= claim.created - found[0].created < 60
    assert set(claims.all_claims(root)) == set(found)
    assert claims.read_claim(root, b.key) == claim
    assert claims.read_claim(root, "0" * 16) is None
    assert claims.read_task(root, b.key) == b


def test_nothing_is_claimed_in_a_new_store(root: Path) -> None:
    assert claims.all_claims(root / "new") == ()
    assert claims.read_claim(root / "new", "0" * 16) is None
    assert claims.read_note(root / "new", "saeuniv-1") is None
    assert not (root / "new").exists()


def test_a_note_completes_the_claims_of_an_array(root: Path) -> None:
    assert claims.read_note(root, "saeuniv-1") is None
    claims.claim(root, [[dummy(root, "a")]], token="saeuniv-1", sweep="")
    made = Note("saeuniv-1", "ci", ("28_0", "28_1"), 1.5, "/logs")
    claims.note(root, made)
    assert claims.read_note(root, "saeuniv-1") == made
    claims.note(root, replace(made, cluster="other"))
    assert claims.read_note(root, "saeuniv-1") == replace(made, cluster="other")
    assert files(root) == {"a.json", "a.task.json", "saeuniv-1.array.json"}


def test_tokens_differ(root: Path) -> None:
    assert len({claims.new_token() for _ in range(100)}) == 100


def test_what_is_claimed_is_not_claimed_again_and_the_rest_is_left(root: Path) -> None:
    claims.claim(root, [[dummy(root, "b")]], token="first", sweep="")
    with pytest.raises(FileExistsError, match=r"jobs/\w+\.json: expected no claim, found one\. Run the same"):
        claims.claim(
            root, [[dummy(root, "a"), dummy(root, "b")], [dummy(root, "c")]], token="second", sweep=""
        )
    assert [(each.label, each.token) for each in claims.all_claims(root)] == [("b", "first")]
    # Tasks are no claims: the next one who claims them writes them again.
    assert files(root) == {"b.json", "b.task.json", "a.task.json"}
    claims.claim(root, [[dummy(root, "a")]], token="third", sweep="")


def test_a_task_that_cannot_be_written_claims_nothing(root: Path) -> None:
    odd = replace(dummy(root, "b"), name=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        claims.claim(root, [[dummy(root, "a")], [odd]], token="first", sweep="")
    assert claims.all_claims(root) == ()
    assert files(root) == {"a.task.json"}


def test_an_interruption_gives_claims_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, text: str) -> None:
        if path.name.startswith(dummy(root, "b").key):
            raise KeyboardInterrupt
        create(path, text)

    create = claims._create
    monkeypatch.setattr(claims, "_create", interrupted)
    with pytest.raises(KeyboardInterrupt):
        claims.claim(root, [[dummy(root, "a"), dummy(root, "b")]], token="first", sweep="")
    assert claims.all_claims(root) == ()


def test_claims_are_given_back_once_or_twice(root: Path) -> None:
    found = claims.claim(root, [[dummy(root, "a"), dummy(root, "b")]], token="first", sweep="")
    claims.release(root, found[:1])
    claims.release(root, found[:1])
    assert claims.all_claims(root) == found[1:]
    claims.claim(root, [[dummy(root, "a")]], token="second", sweep="")


def test_what_an_earlier_job_said_is_forgotten_by_who_claims_and_by_nobody_else(root: Path) -> None:
    first = claims.claim(root, [[dummy(root, "a")]], token="first", sweep="")
    told = [root / "jobs" / f"{first[0].key}.{kind}.json" for kind in ("error", "timeouts")]
    for path in told:
        path.write_text("{}")
    with pytest.raises(FileExistsError):
        claims.claim(root, [[dummy(root, "a")]], token="second", sweep="")
    assert all(path.exists() for path in told), "the job of the first may have written them just now"
    claims.release(root, first)
    assert all(path.exists() for path in told)
    claims.claim(root, [[dummy(root, "a")]], token="third", sweep="")
    assert not any(path.exists() for path in told)


@pytest.mark.parametrize("text", ['{"format": 2}', '{"format": null}', "{}", "[]", "", "{", '"x"', "3", "\0"])
def test_what_is_not_a_claim_of_this_format_is_ignored(root: Path, text: str) -> None:
    kept = claims.claim(root, [[dummy(root, "a")]], token="first", sweep="")
    (root / "jobs" / f"{dummy(root, 'b').key}.json").write_text(text)
    (root / "jobs" / "second.array.json").write_text(text)
    assert claims.all_claims(root) == kept
    assert claims.read_claim(root, dummy(root, "b").key) is None
    assert claims.read_note(root, "second") is None
    # It may belong to a job that lives: nobody takes it away.
    with pytest.raises(FileExistsError, match=r"another version of saeuniv, or damaged, .* remove that file"):
        claims.claim(root, [[dummy(root, "b")]], token="third", sweep="")


def test_a_claim_of_a_later_format_is_ignored_whatever_else_it_says(root: Path) -> None:
    (claim,) = claims.claim(root, [[dummy(root, "a")]], token="first", sweep="")
    path = root / "jobs" / f"{claim.key}.json"
    written: dict[str, Any] = json.loads(path.read_text())
    assert written["format"] == claims.FORMAT
    path.write_text(json.dumps(written | {"format": claims.FORMAT + 1, "more": 1}))
    assert claims.all_claims(root) == ()


def test_only_claims_are_taken_for_claims(root: Path) -> None:
    found = claims.claim(root, [[dummy(root, "a")]], token="first", sweep="")
    claims.note(root, Note("first", "ci", ("1",), 0.0, ""))
    for name in ("error", "timeouts"):
        (root / "jobs" / f"{found[0].key}.{name}.json").write_text(json.dumps({"format": 1}))
    (root / "jobs" / f".{found[0].key}.json.0123abcd").write_text(
        (root / "jobs" / f"{found[0].key}.json").read_text()
    )
    assert claims.all_claims(root) == found


def test_a_task_that_was_not_written_is_named(root: Path) -> None:
    with pytest.raises(
        ValueError, match=r"jobs/0{16}\.task\.json: expected the task of a job, found none\.$"
    ):
        claims.read_task(root, "0" * 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "expected a task as JSON"),
        ('{"format": 9}', "expected a task of format 1, got 9"),
        (None, "expected a class of saeuniv"),
    ],
)
def test_a_task_that_cannot_be_read_is_named(
    root: Path, text: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = dummy(root, "a")
    claims.claim(root, [[task]], token="first", sweep="")
    monkeypatch.delenv("SAEUNIV_TASK_MODULES")
    (root / "jobs" / f"{task.key}.task.json").write_text(task_json(task) if text is None else text)
    with pytest.raises(ValueError, match=rf"{task.key}\.task\.json: .*{said}"):
        claims.read_task(root, task.key)


def test_of_two_who_claim_at_once_one_wins_and_the_other_leaves_nothing(root: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(2), context.Queue()
    both = [context.Process(target=_claim_all, args=(root, name, barrier, told)) for name in ("one", "two")]
    for each in both:
        each.start()
    won = dict(told.get(timeout=60) for _ in both)
    for each in both:
        each.join()
    # Each round's contested task was won by one of them, and its own task of that round with it.
    assert sorted([*won["one"], *won["two"]]) == list(range(ROUNDS))
    expected = {f"both{number}" for number in range(ROUNDS)}
    expected |= {f"{name}{number}" for name, numbers in won.items() for number in numbers}
    found = claims.all_claims(root)
    assert {each.label for each in found} == expected and len(found) == 2 * ROUNDS
    for each in found:
        number = int(each.label.removeprefix("both").removeprefix("one").removeprefix("two"))
        assert each.token == ("one" if number in won["one"] else "two")
    assert not [path for path in (root / "jobs").iterdir() if path.name.startswith(".")]


def _claim_all(root: Path, name: str, barrier: Any, told: Any) -> None:
    won: list[int] = []
    for number in range(ROUNDS):
        jobs = [[dummy(root, f"{name}{number}")], [dummy(root, f"both{number}")]]
        barrier.wait(timeout=30)
        try:
            claims.claim(root, jobs, token=name, sweep="")
        except FileExistsError:
            continue
        won.append(number)
    told.put((name, won))

"""Tasks as files: `saeuniv plan --emit DIR`, for schedulers that saeuniv does not know."""

import argparse
import json
import os
from collections.abc import Set
from pathlib import Path

from saeuniv.commands.asking import Asked
from saeuniv.commands.task import written
from saeuniv.stages.task import Task
from saeuniv.store import Kind
from saeuniv.sweep.fetching import fetches
from saeuniv.sweep.place import SweepPlace
from saeuniv.sweep.plan import Plan
from saeuniv.sweep.run import summary_of

INDEX = "index.json"


def fresh_folder(text: str) -> Path:
    """A folder that is empty or not there: tasks of an earlier plan among the new ones would be run again.

    Raises:
        argparse.ArgumentTypeError: something is there.
    """
    folder = Path(text).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise argparse.ArgumentTypeError(f"{text}: expected a new or an empty folder, found something there.")
    return folder


def made_by(work: Plan) -> Set[str]:
    """Paths of what the plan makes; a task also names scores that it finds made."""
    scores = work.root / Kind.scores.value
    there = {each.name for each in os.scandir(scores)} if scores.is_dir() else set[str]()
    outputs = (output for task in work.tasks for output in task.outputs)
    return {each.path for each in outputs if each.kind is not Kind.scores or each.key not in there}


def emit(work: Plan, wanted: Asked, folder: Path) -> int:
    """Write every task that is not done as a file, and index.json with what each must wait for.

    A task needs the tasks in `needs` to have succeeded, or, where `needs_all` is false, to have ended.
    Each comes after what it needs.

    Returns:
        How many tasks were written.

    Raises:
        ConfigError: what comes from hubs cannot be told; nothing is written.
    """
    tasks = _tasks(work, wanted)
    makers = {output.path: task.key for task in tasks for output in task.outputs}
    fetched = [task.key for task in tasks if task.stage == "fetch"]
    reports = [task.key for task in tasks if task.stage == "report"]
    folder.mkdir(parents=True, exist_ok=True)
    index: list[dict[str, object]] = []
    for number, task in enumerate(tasks):
        name = f"{number:04d}-{task.stage}-{task.key}.json"
        (folder / name).write_text(written(task, Path.cwd()), encoding="utf-8")
        needs = dict.fromkeys([] if task.stage == "fetch" else fetched)
        needs |= dict.fromkeys(makers[each.path] for each in task.inputs if each.path in makers)
        needs |= dict.fromkeys(reports if task.stage == "sweep" else [])
        about = {"file": name, "key": task.key, "stage": task.stage, "label": task.label}
        index.append({**about, "needs": list(needs), "needs_all": task.needs_all})
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return len(tasks)


def _tasks(work: Plan, wanted: Asked) -> list[Task]:
    tasks: list[Task] = [each for each in fetches(work.tasks) if not each.is_done()]
    tasks += [*work.tasks, *work.due_reports(made_by(work))]
    if wanted.checked.multirun:
        summary = summary_of(work, SweepPlace(wanted.name, wanted.folder, (), wanted.launcher))
        tasks += [summary] if tasks or not summary.is_done() else []
    return tasks

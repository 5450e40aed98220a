"""Commands called in this process, standing in an empty folder."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from saeuniv.commands.shell import guarded
from saeuniv.report.console import console
from tests.sweep.conftest import store as store

Command = Callable[[list[str]], int]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Ended]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user stands: a folder with nothing in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls a command as `saeuniv` does."""

    def run(command: Command, *argv: str) -> Ended:
        console.cache_clear()
        capsys.readouterr()
        try:
            code = guarded(command, argv)
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run

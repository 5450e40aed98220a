"""`saeuniv`: which command is called, what is offered by the shell, and how faults end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saeuniv import cli, commands
from saeuniv.alignments import ALIGNMENTS
from saeuniv.commands.completion import completed
from saeuniv.commands.shell import guarded, say
from saeuniv.config import ConfigError
from saeuniv.config.help import COMMANDS, help_page
from saeuniv.config.registry import CONF_DIR
from saeuniv.report.console import console
from saeuniv.sweep.record import Record, write_record
from saeuniv.sweep.slurm import QueueError

COMPLETED = (
    ("saeuniv ", tuple(COMMANDS), "saeuniv "),
    ("saeuniv", tuple(COMMANDS), "saeuniv"),
    ("saeuniv st", ("status", "store"), "saeuniv st"),
    ("saeuniv alignment=", (), "saeuniv alignment="),
    ("saeuniv -m alignment=", (), "saeuniv -m alignment="),
    ("saeuniv plan ", (), "saeuniv "),
    ("saeuniv plan", ("plan",), "saeuniv plan"),
    ("saeuniv plan alignment=", (), "saeuniv alignment="),
    ("saeuniv plan -m a=local a.pa", (), "saeuniv -m a=local a.pa"),
    ("saeuniv plan --json --emit tasks -m a=", (), "saeuniv -m a="),
    ("saeuniv plan --emit=tasks ", (), "saeuniv "),
    ("saeuniv plan --emit ta", (), None),
    ("saeuniv plan --js", (), None),
    ("saeuniv fetch models=", (), "saeuniv models="),
    ("saeuniv doctor --job hydra/launcher=", (), "saeuniv hydra/launcher="),
    ("saeuniv status ", ("mine", "other"), None),
    ("saeuniv logs m", ("mine",), None),
    ("saeuniv report mul", (), None),
    ("saeuniv cancel mine ", (), None),
    ("saeuniv export o", ("other",), None),
    ("saeuniv --cite m", ("mine",), None),
    ("saeuniv store ", ("du", "gc"), None),
    ("saeuniv store g", ("gc",), None),
    ("saeuniv task ", ("run",), None),
    ("saeuniv task run tas", (), None),
)


@pytest.mark.parametrize(("line", "offered", "rest"), COMPLETED)
def test_the_shell_is_offered_what_a_command_takes(
    line: str, offered: tuple[str, ...], rest: str | None, here: Path
) -> None:
    for name in ("other", "mine"):
        write_record(here / "multirun" / name, Record(name, "/store", (), "/", (), ()))
    found, left = completed(line)
    assert (tuple(found), left) == (offered, rest)


def run(*argv: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`saeuniv` as it is installed: a script that calls saeuniv.cli.main."""
    code = "import sys; sys.argv[0] = 'saeuniv'; from saeuniv.cli import main; main()"
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, env=env)


def test_overrides_are_completed_after_a_command() -> None:
    def offered(line: str) -> set[str]:
        done = run("-sc", "query=bash", COMP_LINE=line, COMP_POINT="99")
        assert (done.returncode, done.stderr) == (0, "")
        return set(done.stdout.split())

    options = {f"alignment={each.name}" for each in ALIGNMENTS}
    assert offered("saeuniv plan --json alignment=") == offered("saeuniv alignment=") == options
    assert {*COMMANDS, "alignment=", "sae="} <= offered("saeuniv ")
    assert offered("saeuniv task ") == {"run"}


def test_the_shell_is_told_how_to_complete() -> None:
    done = run("-sc", "install=bash")
    assert done.returncode == 0 and "hydra_bash_completion saeuniv" in done.stdout


def test_every_command_has_a_page_of_help_and_needs_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    for name in COMMANDS:
        monkeypatch.setattr(sys, "argv", ["saeuniv", name, "--help"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        out = capsys.readouterr().out
        assert out.startswith(f"usage: saeuniv {name} [-h]") and "show this help" in out
    assert list(here.iterdir()) == []


def test_the_page_of_help_names_every_command_and_the_launchers(tmp_path: Path) -> None:
    site = tmp_path / "hydra" / "launcher"
    site.mkdir(parents=True)
    (site / "ours.yaml").touch()
    page = help_page((CONF_DIR, tmp_path))
    lines = page.splitlines()
    for name, meaning in COMMANDS.items():
        assert f"  {name:<16}{meaning}" in lines
    launchers = next(place for place, line in enumerate(lines) if line.startswith("  hydra/launcher "))
    assert lines[launchers + 1].split() == ["local", "ours", "slurm"]
    assert all(len(line) <= 112 for line in lines)
    assert {path.stem for path in Path(commands.__file__).parent.glob("*.py")} >= {*COMMANDS}


def test_the_arguments_after_its_name_are_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["saeuniv", "status", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("nowhere: expected the name of a sweep or its folder")


@pytest.mark.parametrize(
    ("name", "near"), [("stauts", "; did you mean status?"), ("commands", "."), ("help", ".")]
)
def test_a_word_that_is_no_command_is_refused_with_those_there_are(
    name: str,
    near: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    here: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", ["saeuniv", name, "x"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"{name}: expected a command, or overrides (key=value; see --help). "
        f"Choose one of {', '.join(COMMANDS)}{near}\n"
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "argv", [(), ("a=tiny_s0",), ("--help",), ("-m", "plan"), ("~alignment",), ("+x=1",)]
)
def test_everything_else_is_the_applications(argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(sys, "argv", ["saeuniv", *argv])
    monkeypatch.setattr("saeuniv.app.main", lambda: called.append(tuple(sys.argv[1:])))
    cli.main()
    assert called == [argv]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("a=1: no.", "b=2: [no]."), 2, "a=1: no.\nb=2: [no].\n"),
        (QueueError("squeue failed: no contact."), 1, "squeue failed: no contact.\n"),
        (ValueError("x: damaged."), 1, "x: damaged.\n"),
        (FileNotFoundError(2, "No such file", "x"), 1, "[Errno 2] No such file: 'x'\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_faults_are_said_in_words_and_are_exit_codes(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: object) -> int:
        raise error

    assert guarded(fail, ()) == code
    assert capsys.readouterr() == ("", said)


def test_a_bug_is_not_hidden() -> None:
    def fail(argv: object) -> int:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        guarded(fail, ())


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = (
        "import sys\n"
        "from saeuniv.commands.shell import guarded\n"
        "def command(argv):\n"
        "    for _ in range(100_000):\n"
        "        sys.stdout.write('a long line\\n')\n"
        "    return 0\n"
        "raise SystemExit(guarded(command, ()))"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None and writer.stderr is not None
    assert writer.stdout.readline() == "a long line\n"
    writer.stdout.close()
    assert writer.stderr.read() == ""
    assert writer.wait() == 1
    writer.stderr.close()


def test_lines_are_said_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    say(f"layers.a=[all] [red]{'x' * 200}")
    assert capsys.readouterr().out == f"layers.a=[all] [red]{'x' * 200}\n"

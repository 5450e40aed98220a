"""`saeuniv doctor`: what it asks for whom, and how it ends."""

import json
import shlex
from pathlib import Path

import pytest

from saeuniv.commands import doctor, fetch
from saeuniv.config.launcher import Launcher
from saeuniv.store import Store
from saeuniv.sweep import slurm
from saeuniv.sweep.check import Check
from tests.commands.conftest import Call
from tests.fake_hub import TOKEN, FakeHub
from tests.sweep.test_fetching import SAES
from tests.sweep.test_fetching import hub as hub
from tests.test_preflight import write_text

GOOD, NOTE = Check("python", True, "3.11", ""), Check("torch", None, "no GPU", "")
WRONG = Check("disk", False, "full [of files]", "Remove some.")


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The stores of which this machine was asked; all is well."""
    found: list[Path] = []
    monkeypatch.setattr(doctor, "doctor", lambda store: (found.append(store), (GOOD, NOTE))[1])
    return found


@pytest.fixture
def probed(looked: list[Path], monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Launcher]]:
    """What the nodes were asked; all is well."""
    found: list[tuple[Path, Launcher]] = []

    def probe(root: Path, launcher: Launcher) -> tuple[Check, ...]:
        found.append((root, launcher))
        return (Check("all stages: store", True, "n1 sees it", ""),)

    monkeypatch.setattr(doctor, "probe", probe)
    monkeypatch.setattr(slurm, "available", lambda: None)
    return found


def test_all_checks_are_told_and_notes_are_no_faults(
    call: Call, looked: list[Path], store: Store, here: Path
) -> None:
    ended = call(doctor.main)
    assert (ended.code, ended.err) == (0, "")
    assert [line.split()[:2] for line in ended.out.splitlines() if line.strip()] == [
        ["ok", "python"],
        ["note", "torch"],
    ]
    assert looked == [store.root]
    assert json.loads(call(doctor.main, "--json").out) == [each._asdict() for each in (GOOD, NOTE)]
    assert list(here.iterdir()) == [] and not store.root.exists()


def test_what_is_wrong_is_exit_code_2(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "doctor", lambda store: (GOOD, WRONG))
    ended = call(doctor.main)
    assert ended.code == 2 and "full [of files]" in ended.out and "Remove some." in ended.out
    ended = call(doctor.main, "--json")
    assert ended.code == 2 and json.loads(ended.out)[1]["ok"] is False


def test_the_store_of_the_overrides_is_looked_at(call: Call, looked: list[Path], tmp_path: Path) -> None:
    assert call(doctor.main, f"store={tmp_path}/other", "-m", "alignment=max_corr,hungarian").code == 0
    assert looked == [tmp_path / "other"]


def test_nodes_are_asked_as_the_launcher_says(
    call: Call, probed: list[tuple[Path, Launcher]], store: Store
) -> None:
    ended = call(doctor.main, "--job")
    assert ended.code == 0 and "n1 sees it" in ended.out
    chosen = ("hydra/launcher=slurm", "hydra.launcher.latents.gpus=2")
    assert call(doctor.main, "-m", *chosen, "--job").code == 0
    (_, usual), (root, launcher) = probed
    assert root == store.root
    assert usual.resources("scores").memory_gb == 12  # of hydra/launcher=slurm
    assert launcher.resources("latents").gpus == 2


def test_nodes_are_not_asked_unless_it_is_told_to(call: Call, probed: list[tuple[Path, Launcher]]) -> None:
    assert call(doctor.main, "-m", "hydra/launcher=slurm").code == 0
    assert probed == []


def test_a_site_may_have_a_launcher_of_its_own(
    call: Call, probed: list[tuple[Path, Launcher]], here: Path
) -> None:
    folder = here / "site" / "hydra" / "launcher"
    folder.mkdir(parents=True)
    (folder / "ours.yaml").write_text(
        "# @package hydra.launcher\ndefaults: [slurm]\ndefault: {partition: gpu}\n"
    )
    assert call(doctor.main, "--config-dir", "site", "hydra/launcher=ours", "--job").code == 0
    assert probed[0][1].resources("tokens").partition == "gpu"


def test_a_launcher_without_jobs_has_no_nodes_to_ask(call: Call, probed: list[tuple[Path, Launcher]]) -> None:
    ended = call(doctor.main, "--job", "hydra/launcher=local")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("--job: expected a launcher that submits jobs, got one that does not. Choose")
    assert probed == []


def test_without_slurm_no_job_is_submitted(
    call: Call, probed: list[tuple[Path, Launcher]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "available", lambda: "expected SLURM's programs, found no sbatch.")
    ended = call(doctor.main, "--job", "--json")
    assert (ended.code, ended.err, probed) == (2, "", [])
    assert json.loads(ended.out)[-1] == {
        "name": "job",
        "ok": False,
        "said": "none was submitted: expected SLURM's programs, found no sbatch.",
        "remedy": "",
    }


def test_a_store_that_cannot_be_written_to_is_said(
    call: Call, probed: list[tuple[Path, Launcher]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(root: Path, launcher: Launcher) -> tuple[Check, ...]:
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(doctor, "probe", refuse)
    ended = call(doctor.main, "--job")
    assert ended.code == 2 and "Permission denied" in ended.out and "store=..." in ended.out


MODELS = ("a=hub", "a.name=owner/a", "b=hub", "b.name=owner/b", *SAES, "tracking=off")


@pytest.fixture
def overrides(looked: list[Path], store: Store, tmp_path: Path) -> tuple[str, ...]:
    """Two models and dictionaries of the hub, and text of this machine, which is well itself."""
    write_text(tmp_path / "text")
    return (*MODELS, "data=text", f"data.path={tmp_path / 'text'}")


def of_hubs(ended: object) -> list[list[object]]:
    """Name, verdict, what was said and the remedy of what is no check of the machine."""
    checks = json.loads(ended.out)  # type: ignore[attr-defined]
    return [list(each.values()) for each in checks if each["name"] not in ("python", "torch")]


def test_what_the_hub_has_and_the_cache_lacks_is_named_with_the_command_that_fetches_it(
    call: Call, hub: FakeHub, overrides: tuple[str, ...]
) -> None:
    ended = call(doctor.main, "--json", *overrides)
    assert ended.code == 0
    (a, dictionaries, b) = of_hubs(ended)
    assert (a[:2], b[:2]) == (["model a", None], ["model b", None])
    assert dictionaries[0] == "dictionaries a, dictionaries b"
    # config.json was fetched when the configuration was checked; the weights (4 kB and a header) were not.
    assert str(a[2]).startswith("owner/a: missing: ") and " of " in str(a[2])
    assert a[3] == shlex.join(("saeuniv", "fetch", *overrides))
    assert call(fetch.main, *overrides).code == 0
    ended = call(doctor.main, "--json", *overrides)
    assert [each[1] for each in of_hubs(ended)] == [True] * 3
    assert all(" in the cache, " in str(each[2]).replace(":", "") for each in of_hubs(ended))


def test_a_gated_repository_names_the_page_where_access_is_asked_for(
    call: Call, hub: FakeHub, overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add("owner/b")
    ended = call(doctor.main, "--json", *overrides)
    (b,) = [each for each in of_hubs(ended) if each[0] == "model b"]
    assert (ended.code, b[1]) == (2, False)
    assert "owner/b is gated" in str(b[2]) and "https://huggingface.co/owner/b" in str(b[2])
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ended = call(doctor.main, "--json", *overrides)
    assert ended.code == 0 and TOKEN not in ended.out


def test_without_a_hub_what_is_missing_is_told_repository_by_repository(
    call: Call, looked: list[Path], offline: None
) -> None:
    ended = call(doctor.main, "experiment=base_chat", "--json")
    assert (ended.code, ended.err) == (2, "")
    found = of_hubs(ended)
    assert [each[0] for each in found] == ["model a", "dictionaries a", "model b", "text"]
    assert found[0][1:3] == [
        False,
        "google/gemma-2-2b: missing, size unknown: the hub cannot be asked",
    ]
    assert found[0][3] == (
        "It is gated: accept its licence at https://huggingface.co/google/gemma-2-2b, then hf auth login. "
        "Where there is a network: saeuniv fetch experiment=base_chat. Then copy the cache here, or set "
        "HF_HOME to it."
    )
    assert "gated" not in str(found[1][3]) and str(found[1][2]).startswith("google/gemma-scope-2b-pt-res: ")


@pytest.mark.parametrize(
    ("preset", "repositories"),
    [
        (
            "paper_pythia",
            "pythia-70m sae-pythia-70m-32k pythia-160m sae-pythia-160m-32k openwebtext",
        ),
        (
            "paper_gemma",
            "gemma-2b Gemma-2b-Residual-Stream-SAEs gemma-2-2b gemma-scope-2b-pt-res openwebtext",
        ),
    ],
)
def test_the_weights_and_text_of_the_paper_are_named(
    preset: str, repositories: str, call: Call, looked: list[Path], offline: None
) -> None:
    ended = call(doctor.main, f"experiment={preset}", "--json")
    found = [str(each[2]).partition(":")[0].rpartition("/")[2] for each in of_hubs(ended)]
    assert ended.code == 2 and sorted(found) == sorted(repositories.split())


def test_another_fault_is_not_hidden_behind_a_repository(
    call: Call, looked: list[Path], offline: None, here: Path
) -> None:
    ended = call(doctor.main, "models=pythia70m_pythia160m", f"data.path={here}/no")
    assert (ended.code, ended.out) == (2, "")
    assert (
        ended.err.startswith(f"data.path={here}/no: expected a text file") and "EleutherAI" not in ended.err
    )


def test_part_of_a_repository_in_the_cache_is_not_all(
    call: Call, hub: FakeHub, overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(doctor.main, *overrides).code == 0  # fetches what says how large things are
    from huggingface_hub import constants

    from saeuniv.adapters import hub as of_hub

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    of_hub._listing.cache_clear()  # as in a process of its own
    found = of_hubs(call(doctor.main, "--json", *overrides))
    (a,) = [each for each in found if each[0] == "model a"]
    assert a[1] is not True and "in the cache" in str(a[2]) and "saeuniv fetch" in str(a[3])


@pytest.fixture
def offline(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and no hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

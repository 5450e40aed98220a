"""What jobs ask for: hydra/launcher=local and hydra/launcher=slurm, and what is wrong with their settings."""

import dataclasses
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from saeuniv.alignments import ALIGNMENTS
from saeuniv.config import JOB_STAGES, Cluster, Launcher, StageResources, sweep_name
from saeuniv.config.launcher import faults as launcher_faults
from saeuniv.config.registry import CONF_DIR, conf_dirs, register
from saeuniv.metrics import METRICS
from saeuniv.preflight import preflight

SLURM = ("-m", "hydra/launcher=slurm")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and a store beside it."""
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("SAEUNIV_CONFIG_DIR", raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site's own folder, with a launcher that builds on ours and one that builds on Hydra's."""
    folder = tmp_path / "site" / "hydra" / "launcher"
    folder.mkdir(parents=True)
    (folder / "mysite.yaml").write_text(
        "defaults: [slurm]\n"
        "default: {partition: short, account: lab, setup: [module load cuda], sbatch: {nice: 5}}\n"
        "latents: {gpus: 1, partition: gpu, sbatch: {exclusive: true}}\n"
        "array_parallelism: 16\n"
    )
    (folder / "misspelt.yaml").write_text("defaults: [slurm]\nlatents: {partitoin: gpu}\n")
    (folder / "stock.yaml").write_text(
        "_target_: hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher\npartition: gpu\n"
    )
    return tmp_path / "site"


def launcher(*argv: str) -> Launcher:
    checked = preflight(argv)
    assert checked.faults == ()
    assert checked.launcher is not None
    return checked.launcher


def faults(*argv: str) -> tuple[str, ...]:
    return preflight(argv).faults


def test_a_stage_asks_for_what_default_says_unless_it_says_otherwise() -> None:
    settings = Launcher(
        default=StageResources(gpus=0, cpus=2, memory_gb=4.0, minutes=30, qos="low", sbatch={"nice": 1}),
        latents=StageResources(gpus=1, qos="", setup=["module load cuda"], sbatch={"mail_type": "END"}),
        report=StageResources(minutes=10),
    )
    assert settings.resources("latents") == StageResources(
        gpus=1,
        cpus=2,
        memory_gb=4.0,
        minutes=30,
        qos=None,
        setup=["module load cuda"],
        sbatch={"nice": 1, "mail-type": "END"},
    )
    assert settings.resources("tokens") == settings.default
    assert settings.resources("sweep") == settings.resources("report")
    assert settings.resources("sweep").minutes == 10
    assert settings.default.sbatch == {"nice": 1}, "settings are left as they are"


def test_nothing_is_left_open() -> None:
    emptied = Launcher(default=StageResources())
    for stage in ("default", *JOB_STAGES, "sweep"):
        asked = emptied.resources(stage)
        assert (asked.gpus, asked.cpus, asked.memory_gb, asked.minutes) == (0, 1, 8.0, 60)


def test_a_sweep_runs_on_this_machine_unless_told_otherwise() -> None:
    assert launcher().cluster is Cluster.local
    assert launcher("-m", "b=tiny_s1,tiny_s2").cluster is Cluster.local
    assert launcher(*SLURM).cluster is Cluster.slurm
    assert preflight(("-m", "hydra/launcher=basic")).launcher is None


def test_jobs_need_no_gpu_unless_asked() -> None:
    asked = launcher(*SLURM, "hydra.launcher.latents.gpus=2")
    assert [asked.resources(stage).gpus for stage in JOB_STAGES] == [0, 0, 0, 2, 0, 0]


def test_any_option_of_sbatch_can_be_given() -> None:
    lines = ("hydra.launcher.latents.sbatch.nice=100", "hydra.launcher.default.sbatch={exclusive: true}")
    given = launcher(*SLURM, *lines)
    assert OmegaConf.to_object(composed("hydra/launcher=slurm", *lines).hydra.launcher) == given
    assert given.resources("latents").sbatch == {"nice": 100, "exclusive": True}
    assert given.resources("scores").sbatch == {"exclusive": True}
    with_gres = launcher(*SLURM, "hydra.launcher.latents.gres=gpu:a100:2", "hydra.launcher.latents.gpus=2")
    assert with_gres.resources("latents").gres == "gpu:a100:2"


@pytest.mark.parametrize("by", ["--config-dir", "SAEUNIV_CONFIG_DIR"])
def test_a_site_builds_on_slurm(by: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEUNIV_CONFIG_DIR", str(site)) if by == "SAEUNIV_CONFIG_DIR" else None
    flags = ("--config-dir", str(site)) if by == "--config-dir" else ()
    ours = launcher(*flags, "-m", "hydra/launcher=mysite", "hydra.launcher.latents.cpus=7")
    assert (ours.cluster, ours.array_parallelism) == (Cluster.slurm, 16)
    latents, scores = ours.resources("latents"), ours.resources("scores")
    assert (latents.gpus, latents.cpus, latents.partition, latents.account) == (1, 7, "gpu", "lab")
    assert latents.sbatch == {"nice": 5, "exclusive": True}
    assert (scores.gpus, scores.partition, scores.setup) == (0, "short", ["module load cuda"])


def test_a_wrong_file_of_a_site_names_itself(site: Path) -> None:
    (fault,) = faults("--config-dir", str(site), "-m", "hydra/launcher=misspelt")
    assert fault.startswith("hydra/launcher=misspelt: In 'hydra/launcher/misspelt'")
    assert "Key 'partitoin' not in 'StageResources'" in fault
    (fault,) = faults("--config-dir", str(site), "-m", "hydra/launcher=stock")
    assert "expected an option that builds on slurm" in fault


# Arguments and what their fault says.
CASES = [
    ("hydra.launcher.latents.gpu=1", "did you mean hydra.launcher.latents.gpus?"),
    ("+hydra.launcher.scores.gpu=1", "did you mean hydra.launcher.scores.gpus?"),
    ("+hydra.launcher.models.gpus=1", "is there already. Write hydra.launcher.models.gpus=1."),
    (
        "hydra.launcher.encode.gpus=1",
        "encode is no stage that runs as a job. "
        "Choose one of default, tokens, models, dictionaries, latents, scores, report.",
    ),
    ("hydra.launcher.latent.gpus=1", "did you mean latents?"),
    ("hydra.launcher.gpus=1", "Set hydra.launcher.default.gpus for all, or hydra.launcher.<stage>.gpus"),
    ("hydra.launcher.polling=1", "Choose one of hydra.launcher.cluster, hydra.launcher.default,"),
    ("hydra.launcher.tokens.gpus=many", "Value 'many' of type 'str' could not be converted to Integer"),
    ("hydra.launcher.cluster=slrm", "Choose one of local, slurm; did you mean slurm?"),
    ("hydra.launcher.tokens.setup=module load x", "expected a list of shell lines, got one text. Write"),
    ("hydra.launcher=slurm", "launchers are chosen with a slash. Write hydra/launcher=slurm."),
    ("hydra.launcher.report.gpus=-1", "hydra.launcher.report.gpus=-1: expected 0 (none) or more, got -1."),
    ("hydra.launcher.report.cpus=0", "hydra.launcher.report.cpus=0: expected at least 1"),
    ("hydra.launcher.report.memory_gb=0", "report.memory_gb=0.0: expected a positive number of GiB"),
    ("hydra.launcher.report.minutes=2", "expected at least 3 (the signal to save progress comes 90 s"),
    ("hydra.launcher.array_parallelism=0", "expected at least 1 job at a time, got 0."),
    ("hydra.launcher.poll_seconds=0", "hydra.launcher.poll_seconds=0.0: expected a positive number"),
    ("hydra.launcher.job_minutes=-1", "hydra.launcher.job_minutes=-1.0: expected 0 (one task a job) or more"),
    ("hydra.launcher.tokens.gres=gpu:2", "Set hydra.launcher.tokens.gpus=2."),
    ("hydra.launcher.tokens.sbatch.time=5", "--time has a key of its own. Set hydra.launcher.tokens.minutes"),
    ("hydra.launcher.tokens.sbatch.array=5", "saeuniv makes the arrays. Set hydra.launcher.array_parallel"),
    ("hydra.launcher.tokens.sbatch.output=x", "--output is set by saeuniv: logs lie in the store"),
    ("hydra.launcher.tokens.sbatch.kill_on_invalid_dep=no", "--kill-on-invalid-dep is set by saeuniv"),
    ("hydra.launcher.tokens.sbatch.p=x", "expected the long name of an option of sbatch without dashes"),
    ("hydra.launcher.latents.cpus=1,2", "settings of Hydra cannot be swept. Choose one value."),
    ("hydra.sweeper.max_batch_size=3", "a sweep is planned as a whole."),
]


def test_all_faults_of_a_launcher_are_reported_at_once_with_all_others(here: Path) -> None:
    found = faults(*SLURM, *(argument for argument, _ in CASES), "layers.a=9", "sae.k=0")
    for argument, message in CASES:
        assert sum(message in fault for fault in found) == 1, (argument, found)
    assert len(found) == len(CASES) + 2
    assert list(here.iterdir()) == []


def test_a_job_must_be_longer_than_what_is_put_in_it() -> None:
    (fault,) = launcher_faults(Launcher(job_minutes=30.0, tokens=StageResources(minutes=20)))
    assert fault.startswith(
        "hydra.launcher.job_minutes=30.0: expected less than hydra.launcher.tokens.minutes"
    )
    assert list(launcher_faults(Launcher(job_minutes=30.0, tokens=StageResources(minutes=31)))) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["job_minutes", "poll_seconds"])
def test_numbers_are_finite(name: str, value: float) -> None:
    assert len(list(launcher_faults(dataclasses.replace(Launcher(), **{name: value})))) == 1
    assert len(list(launcher_faults(Launcher(latents=StageResources(memory_gb=value))))) == 1


# Whole commands and what their only fault says.
COMMANDS = [
    (("-m", "hydra/launcher=slurmm"), "Choose one of basic, local, slurm; did you mean slurm?"),
    (
        ("-m", "hydra/launcher=submitit_slurm"),
        "knows no stages, dependencies or resumption. Choose hydra/laun",
    ),
    (("-m", "hydra/launcher=submitit_local"), "Choose hydra/launcher=local."),
    (("-m", "hydra/launcher=null"), "expected a choice, got none. Choose one of basic, local, slurm."),
    (("-m", "hydra/launcher=local,slurm"), "settings of Hydra cannot be swept"),
    (("-m", "launcher=slurm"), "did you mean hydra/launcher?"),
    (
        ("-m", "hydra/launcher=basic", "hydra.launcher.latents.gpus=1"),
        "Choose hydra/launcher=slurm or hydra/",
    ),
    (("hydra/launcher=slurm",), "launchers run sweeps, and this command is none. Add -m."),
    (("hydra.launcher.cluster=slurm",), "launchers run sweeps, and this command is none. Add -m."),
    (
        ("sweep.detach=true",),
        "Add -m and hydra/launcher=slurm; for a long run on this machine use tmux or nohup.",
    ),
    (("-m", "sweep.detach=true"), "sweep.detach=true: only jobs on SLURM go on by themselves."),
    (("-m", "sweep.detach=true,false"), "a sweep has one sweep.detach. Choose one value."),
    ((*SLURM, "sweep.max_gpu_hours=-1"), "expected a positive number of hours, got -1.0."),
]


@pytest.mark.parametrize(("argv", "message"), COMMANDS, ids=lambda each: " ".join(each))
def test_a_command_that_cannot_be_launched_says_what_to_do(
    argv: tuple[str, ...], message: str, here: Path
) -> None:
    (fault,) = faults(*argv)
    assert message in fault
    assert list(here.iterdir()) == []


def test_a_sweep_on_slurm_can_be_detached_and_capped() -> None:
    checked = preflight((*SLURM, "sweep.detach=true", "sweep.max_gpu_hours=2.5"))
    assert checked.faults == ()
    assert (checked.cells[0].sweep.detach, checked.cells[0].sweep.max_gpu_hours) == (True, 2.5)
    plain = preflight(SLURM).cells[0]
    assert checked.cells[0].comparison == plain.comparison


def folder_of(*lines: str) -> str:
    """The folder of the sweep as Hydra names it."""
    return str(OmegaConf.select(composed("a=tiny_s0", *lines), "hydra.sweep.dir"))


def composed(*lines: str) -> DictConfig:
    """What Hydra itself composes, its own node included."""
    register(ALIGNMENTS, METRICS, conf_dirs(None))
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("config", list(lines), return_hydra_config=True)


def test_a_sweep_is_found_again_in_any_order_from_anywhere_by_any_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of("width=64", "alignment=max_corr")
    assert folder == f"multirun/{sweep_name(None, ['alignment=max_corr', 'a=tiny_s0', 'width=64'])}"
    monkeypatch.chdir(tmp_path)
    assert folder_of("alignment=max_corr", "width=64") == folder
    launched = ("hydra/launcher=slurm", "hydra.launcher.latents.gpus=1", "hydra.launcher.poll_seconds=1")
    assert folder_of(*launched, "width=64", "alignment=max_corr") == folder
    beside = (
        "tracking=off",
        "sweep.detach=true",
        "sweep.max_gpu_hours=3",
        "resources.processes=1",
        "store=s",
    )
    assert folder_of("alignment=max_corr", *beside, "width=64") == folder
    assert folder_of("alignment=max_corr", "width=128") != folder
    assert folder_of("alignment=max_corr", "width=64", "sweep.name=mine") == "multirun/mine"

"""The embedded experiment on SLURM, from a store that holds its latents, against the same inline."""

import shutil
from pathlib import Path

from tests.pipeline.conftest import Desk
from tests.pipeline.conftest import desk as desk
from tests.pipeline.conftest import empty_desk as empty_desk
from tests.pipeline.conftest import encoded_desk as encoded_desk
from tests.pipeline.conftest import trained as trained
from tests.slurm.conftest import Cluster

SWEEP = (
    *("-m", "alignment=hungarian,max_corr", "layers.a=0,1", "resources.processes=1", "sweep.name=both"),
    "metrics=[partial_correlation,matched_correlation,cka]",
)
SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll_seconds=0.5", "hydra.launcher.default.memory_gb=4")


def test_a_sweep_on_slurm_equals_the_sweep_inline_byte_for_byte(
    encoded_desk: Desk, tmp_path: Path, cluster: Cluster
) -> None:
    other = Desk(tmp_path / "other", tmp_path / "other_store")
    other.here.mkdir()
    shutil.copytree(encoded_desk.store, other.store)
    conf = {"SLURM_CONF": str(cluster.conf)}
    on_slurm = encoded_desk.launch(*SWEEP, *SLURM, **conf)
    assert on_slurm.returncode == 0, on_slurm.stderr
    # Eight layer pairs and their controls take seconds: one job for all, one for all reports.
    assert "jobs submitted (1 scores, 1 report, 1 sweep), 0 tasks attached to." in one_line(on_slurm.stdout)
    inline = other.launch(*SWEEP)
    assert inline.returncode == 0, inline.stderr
    assert len(other.comparisons("both")) == 4
    assert encoded_desk.results("both") == other.results("both")
    tables = [each.here / "multirun" / "both" / "sweep.csv" for each in (encoded_desk, other)]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    assert all(list(folder.glob("wandb/*/run-*.wandb")) for folder in encoded_desk.comparisons("both"))
    again = encoded_desk.launch(*SWEEP, *SLURM, **conf)
    assert again.returncode == 0, again.stderr
    assert "0 jobs submitted, 0 tasks attached to." in one_line(again.stdout)


def one_line(text: str) -> str:
    return " ".join(text.split())

"""The launcher of whole sweeps: hydra/launcher=local and hydra/launcher=slurm."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SweepLauncher(Launcher):
    """Hands all cells over at once: the sweep is planned as one, not job by job.

    Preflight has composed and checked the cells and the settings of the launcher already, so that neither
    is looked at here.
    """

    def __init__(self, **settings: object) -> None:
        """Hydra passes the settings, which preflight has read."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the configuration of the sweep."""
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the sweep; how it ended is the exit code of the program, not of single jobs."""
        # Imported here: Hydra imports every plugin at every start.
        from saeuniv.app import run_sweep

        folder = Path(str(self._config.hydra.sweep.dir))
        run_sweep(folder.name, folder)
        returned = [JobReturn(overrides=list(each), status=JobStatus.COMPLETED) for each in job_overrides]
        for each in returned:
            each.return_value = None
        return returned

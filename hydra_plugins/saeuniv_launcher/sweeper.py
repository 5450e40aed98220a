"""The sweeper of checked cells."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore


@dataclass
class CheckedSweeperConfig:
    """The option `hydra/sweeper=checked`."""

    _target_: str = "hydra_plugins.saeuniv_launcher.sweeper.CheckedSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(
    group="hydra/sweeper", name="checked", node=CheckedSweeperConfig, provider="saeuniv"
)


class CheckedSweeper(BasicSweeper):
    """Hydra's basic sweeper without its validation, which composes every cell once more.

    Preflight has composed and checked them all; measured with 200 cells, 53 s become 16 s.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Accept the batch: preflight has."""

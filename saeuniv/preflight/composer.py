"""Composes configurations as Hydra will: the one module of saeuniv that touches Hydra's internals."""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.default_element import GroupDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as ParsedOverride
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from saeuniv.config import ConfigError

TESTED_HYDRA = "1.3."
"""Preflight is tested against this series of hydra-core; a test pins it."""


MAX_CELLS = 100_000
"""More cells than anybody means; they would fill the memory before anything was checked."""

STOCK_LAUNCHERS = {"submitit_slurm": "slurm", "submitit_local": "local"}
"""Options of the Hydra plugin for submitit, if it is installed, and what is chosen in their stead."""


class Command(NamedTuple):
    """A command line, taken apart."""

    overrides: tuple[str, ...]
    multirun: bool
    """-m was given; hydra.mode may ask for a sweep as well."""

    help: bool
    """It asks for our page (--help)."""

    shows: bool
    """It only shows something else (--cfg, --info, completion): Hydra answers it alone."""

    config_name: str
    config_dir: Path | None
    """--config-dir: a folder with more options."""

    config_path: str | None
    """--config-path, which would replace conf/."""


class Override(NamedTuple):
    """One `key=value` of the command line."""

    line: str
    """As written."""

    sign: str
    """The empty string, +, ++ or ~."""

    key: str
    """The key or group, without the sign."""

    value: object
    """The value as Python sees it; None for a sweep."""

    sweep: str
    """The empty string; choices (several values) or interval (which cannot be enumerated)."""

    n_values: int
    """How many values it sweeps over, counted up to MAX_CELLS + 1; 1 where nothing is swept."""


class Composed(NamedTuple):
    """One composed configuration."""

    cfg: DictConfig
    """Without the node hydra. Copy it before changing it."""

    multirun: bool
    """hydra.mode asks for a sweep."""

    choices: Mapping[str, object]
    """The option of each group."""

    params: tuple[str, ...]
    """hydra.sweeper.params as overrides: what a preset sweeps over."""

    launcher: DictConfig
    """The node hydra.launcher, under these two keys and nothing else. Copy it before changing it."""

    max_batch_size: object
    """hydra.sweeper.max_batch_size"""


def read_command(argv: Sequence[str]) -> Command:
    """The command line as Hydra reads it; a wrong flag ends the program with a message and exit code 2."""
    args = get_args_parser().parse_args(list(argv))
    shows = any((args.hydra_help, args.cfg, args.info, args.shell_completion, args.experimental_rerun))
    return Command(
        overrides=tuple(args.overrides),
        multirun=bool(args.multirun),
        help=bool(args.help),
        shows=shows,
        config_name=args.config_name or "config",
        config_dir=Path(args.config_dir) if args.config_dir else None,
        config_path=args.config_path,
    )


class Composer:
    """Composes from conf/ and the folders of the command, keeping what it has composed."""

    def __init__(self, conf_dir: Path, command: Command) -> None:
        version.setbase("1.3")
        setup_globals()
        search_path = create_config_search_path(str(conf_dir))
        if command.config_dir is not None:
            search_path.prepend(
                provider="command-line",
                path=f"file://{command.config_dir.absolute()}",
                anchor=SearchPathQuery(provider="schema"),
            )
        self._config_name = command.config_name
        self._loader = ConfigLoaderImpl(config_search_path=search_path)
        self.parse = cache(self._parse)
        self.options = cache(self._options)
        self.compose = cache(self._compose)
        self.groups = tuple(
            group
            for group in [*self._loader.repository.get_group_options("", ObjectType.GROUP), "hydra/launcher"]
            if group not in ("schema", "model", "hydra")
        )
        """The names of the groups a user chooses from, without those that only build others."""

    def chosen_by(self, option: str) -> dict[str, object]:
        """What an option, `models/tiny_s0_s1` for example, chooses in other groups."""
        loaded = self._loader.repository.load_config(option)
        defaults = (loaded.defaults_list if loaded is not None else None) or []
        return {
            str(each.group).removeprefix("/"): each.value
            for each in defaults
            if isinstance(each, GroupDefault) and each.override
        }

    def expand(self, lines: Sequence[str]) -> list[tuple[str, ...]]:
        """The overrides of each cell of a sweep, in Hydra's order; one cell where nothing is swept."""
        batches = BasicSweeper.split_arguments([self._parsed(line) for line in lines], None)
        return [tuple(cell) for cell in batches[0]]

    def _parsed(self, line: str) -> ParsedOverride:
        return OverridesParser.create(config_loader=self._loader).parse_overrides([line])[0]

    def _parse(self, line: str) -> Override:
        try:
            parsed = self._parsed(line)
            n_values = _n_values(parsed)
        except (HydraException, ValueError) as error:
            text = str(error).replace(f"Error parsing override '{line}'", "").strip()
            reason = text.partition("\n")[0].partition("See https")[0] or "bad grammar"
            raise ConfigError(
                f"{line}: expected key=value, got something that cannot be read ({reason}). "
                f"Quote values with special characters: 'key=\"a value\"'."
            ) from error
        sweep = "" if not parsed.is_sweep_override() else "choices"
        if parsed.is_interval_sweep():
            sweep = "interval"
        key = parsed.get_key_element()
        name = key.lstrip("+~")
        value = None if sweep else parsed.value()
        return Override(line, key.removesuffix(name), name, value, sweep, n_values)

    def _options(self, group: str) -> tuple[str, ...]:
        """The options of a group that can be chosen, sorted; none if there is no such group."""
        found = self._loader.repository.get_group_options(group, ObjectType.CONFIG)
        return tuple(sorted({*found}.difference(STOCK_LAUNCHERS if group == "hydra/launcher" else ())))

    def _compose(self, lines: tuple[str, ...]) -> Composed:
        """What these choices of groups (and settings of Hydra) compose to.

        Raises:
            ConfigError: Hydra's message with its cause: a file that is wrong names itself there.
        """
        try:
            cfg = self._loader.load_configuration(self._config_name, list(lines), RunMode.RUN)
            multirun = cfg.hydra.mode == RunMode.MULTIRUN
            params = tuple(f"{key}={value}" for key, value in (cfg.hydra.sweeper.get("params") or {}).items())
        except (HydraException, OmegaConfBaseException, AttributeError) as error:
            # AttributeError: how OmegaConf refuses a dict for a dict that is unset.
            texts = dict.fromkeys(str(each).strip() for each in (error, error.__cause__) if each)
            raise ConfigError(" ".join(" ".join(texts).split())) from error
        choices = dict(cfg.hydra.runtime.choices)
        launcher = OmegaConf.create({"hydra": {}})
        launcher.hydra.launcher = cfg.hydra.launcher
        OmegaConf.set_struct(launcher, True)
        batch = cfg.hydra.sweeper.get("max_batch_size")
        with open_dict(cfg):
            del cfg["hydra"]
        return Composed(cfg, multirun, choices, params, launcher, batch)


def _n_values(parsed: ParsedOverride) -> int:
    if not parsed.is_sweep_override() or parsed.is_interval_sweep():
        return 1
    return sum(1 for _ in itertools.islice(parsed.sweep_string_iterator(), MAX_CELLS + 1))

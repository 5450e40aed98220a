"""Cells that share their choices of options are composed once."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from saeuniv.config import ConfigError
from saeuniv.preflight.choices import (
    choice_faults,
    form_faults,
    is_choice,
    is_launcher_value,
    is_setting_of_hydra,
)
from saeuniv.preflight.composer import Composed, Composer, Override
from saeuniv.preflight.parts import Parts

# A wrong choice among these leaves the defaults of others standing, about which nothing can be said.
_PRESETS = {"models": ("a", "b", "sae", "data"), "experiment": ("a", "b", "sae", "sae_a", "sae_b", "data")}


class Checked(NamedTuple):
    """Overrides that have been looked at one by one."""

    good: tuple[Override, ...]
    bad_groups: frozenset[str]
    """Groups whose choice is wrong: the default stands in for it."""

    faults: tuple[str, ...]


class Family(NamedTuple):
    """What the cells with the same choices have in common."""

    parts: Parts
    doubtful: frozenset[str]
    """Parts where a default stands in for a wrong choice."""

    faults: tuple[str, ...]
    """What is wrong with the choices together."""


class Families:
    """Checks the overrides of one command, and composes each combination of choices once."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._look = cache(self._look_at)
        self._known: dict[tuple[tuple[str, ...], frozenset[str]], Family] = {}

    def checked(self, lines: Iterable[str]) -> Checked:
        """The overrides of these lines, and what is wrong with each by itself."""
        looks = [self._look(line) for line in lines]
        return Checked(
            tuple(each for look in looks for each in look.good),
            frozenset().union(*(look.bad_groups for look in looks)),
            tuple(fault for look in looks for fault in look.faults),
        )

    def composed(
        self, overrides: Sequence[Override]
    ) -> tuple[Composed, tuple[Override, ...], tuple[str, ...]]:
        """What the choices compose to, those that do not compose, and why they do not.

        Raises:
            ConfigError: nothing composes, not even the root without any choice.
        """
        composer = self._composer
        choices = [each for each in overrides if self._is_composed(each)]
        try:
            return composer.compose(tuple(each.line for each in choices)), (), ()
        except ConfigError as whole:
            composer.compose(())
            culprits: list[Override] = []
            faults: list[str] = []
            for each in choices:
                try:
                    composer.compose((each.line,))
                except ConfigError as error:
                    culprits.append(each)
                    faults += [f"{each.line}: {fault}" for fault in error.faults]
            if not culprits:
                faults += whole.faults
                culprits = choices
            rest = tuple(each.line for each in choices if each not in culprits)
            return composer.compose(rest), tuple(culprits), tuple(faults)

    def of(
        self, overrides: Sequence[Override], *, bad_groups: frozenset[str], params: tuple[str, ...]
    ) -> Family:
        """The family of a cell; `params` are what the command's own preset sweeps over."""
        choices = tuple(each for each in overrides if self._is_composed(each))
        key = (tuple(each.line for each in choices), bad_groups)
        if key not in self._known:
            self._known[key] = self._make(choices, bad_groups, params)
        return self._known[key]

    def values(self, overrides: Iterable[Override]) -> list[Override]:
        """Those that set a value of the cell."""
        return [
            each
            for each in overrides
            if not is_setting_of_hydra(each) and not is_choice(each, self._composer)
        ]

    def _is_composed(self, override: Override) -> bool:
        """Hydra composes it; values of the cell and of the launcher are set in what was composed."""
        if is_setting_of_hydra(override):
            return not is_launcher_value(override)
        return is_choice(override, self._composer)

    def _look_at(self, line: str) -> Checked:
        try:
            override = self._composer.parse(line)
        except ConfigError as error:
            return Checked((), frozenset(), error.faults)
        found = tuple(form_faults(override))
        if not found and not override.sweep and is_choice(override, self._composer):
            found = tuple(choice_faults(override, self._composer))
            if found:
                return Checked((), frozenset({override.key}), found)
        return Checked(() if found else (override,), frozenset(), found)

    def _make(
        self, choices: Sequence[Override], bad_groups: frozenset[str], params: tuple[str, ...]
    ) -> Family:
        composed, culprits, faults = self.composed(choices)
        if composed.multirun and composed.params not in ((), params):
            faults += (
                f"{' '.join(each.line for each in choices)}: a preset that sweeps over "
                f"{', '.join(composed.params)} cannot be one value of a sweep. Run it by itself.",
            )
        faults += tuple(_hidden_choices(choices, composed, self._composer))
        bad = bad_groups | {each.key for each in culprits}
        chosen = {each.key for each in choices if each not in culprits}
        doubtful = bad.union(*(_PRESETS.get(group, ()) for group in bad)) - chosen
        return Family(Parts(composed.cfg, self._composer.groups), doubtful, faults)


def _hidden_choices(overrides: Iterable[Override], composed: Composed, composer: Composer) -> Iterator[str]:
    """A pair of models that an experiment hides: Hydra lets the experiment's own choice win, silently."""
    chosen = {each.key: each for each in overrides}
    if "models" not in chosen or chosen["models"].value is None:
        return
    line, option = chosen["models"].line, f"models/{chosen['models'].value}"
    for group, wanted in composer.chosen_by(option).items():
        if group not in chosen and composed.choices.get(group) != wanted:
            yield (
                f"{line}: the experiment chooses {group}={composed.choices.get(group)} itself. "
                f"Choose {group}={wanted} as well, or leave out the experiment."
            )

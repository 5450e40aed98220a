"""Checks overrides one by one: choices of groups before composing, values on a composed copy."""

from collections.abc import Iterator, Sequence

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from saeuniv.preflight.composer import STOCK_LAUNCHERS, Composer, Override
from saeuniv.preflight.suggestions import choices_of, choose, group_keys, unknown_key

_OPTIONAL = ("sae_a", "sae_b", "models", "experiment")
_KINDS = {
    "alignment": "an alignment",
    "metrics": "a metric",
    "models": "a pair of models",
    "experiment": "an experiment",
    "data": "a source of text",
    "control": "a control",
    "tracking": "a tracking mode",
    "sae": "a source of dictionaries",
    "a": "a model",
}
"""What the options of a group are called, in the order in which a misplaced option is looked for."""


def is_choice(override: Override, composer: Composer) -> bool:
    """The override chooses an option of a group (and is no value of a key)."""
    group = override.key.partition("@")[0]
    return not isinstance(override.value, dict) and bool(composer.options(group))


def is_setting_of_hydra(override: Override) -> bool:
    """The override is Hydra's own business: hydra.mode=..., hydra/launcher=..."""
    return override.key.startswith(("hydra.", "hydra/"))


def is_launcher_value(override: Override) -> bool:
    """The override sets a value of the launcher, hydra.launcher.latents.gpus=1 for example."""
    return override.key == "hydra.launcher" or override.key.startswith("hydra.launcher.")


def form_faults(override: Override) -> Iterator[str]:
    """Forms that Hydra accepts or refuses late, and that are never right here."""
    if override.sign == "~":
        yield (
            f"{override.line}: nothing can be taken out of the configuration. Choose another value or option "
            f"instead, for example {override.key}=..., metrics=[cka] or tracking=off."
        )
    if override.sweep == "interval":
        yield (
            f"{override.line}: expected values that can be listed, got an interval. "
            f"Choose {override.key}=1,2,3 or {override.key}=range(1,4)."
        )
    if override.sweep and is_setting_of_hydra(override):
        yield f"{override.line}: settings of Hydra cannot be swept. Choose one value."
    elif override.sweep and override.key.startswith("sweep."):
        yield f"{override.line}: a sweep has one {override.key}. Choose one value."


def needs_multirun(override: Override) -> str:
    """Why several values need -m, and what else may have been meant."""
    written = override.line.partition("=")[2]
    also = f", or {override.key}=[{written}] for both in one run" if override.key == "metrics" else ""
    return (
        f"{override.line}: several values make a sweep. Add -m to run one cell for each{also}; "
        f"for one value with a comma, quote it."
    )


def choice_faults(override: Override, composer: Composer) -> Iterator[str]:
    """Options that the group does not have, with those it has."""
    key = override.key
    group, _, package = key.partition("@")
    if package or group == "model" or group.startswith("schema"):
        yield f"{override.line}: no group of its own. Choose a=..., b=..., sae=..., sae_a=... or sae_b=..."
        return
    if override.sign:
        yield f"{override.line}: {key} is there already. Write {override.line.lstrip('+')}."
    value = override.value
    if value is None:
        remedy = "Leave it out" if group in _OPTIONAL else choose("", composer.options(group)).rstrip(".")
        yield f"{override.line}: expected a choice, got none. {remedy}."
        return
    if isinstance(value, list) and group != "metrics":
        yield f"{override.line}: expected one option, got a list. Write {group}=... once, or -m for a sweep."
        return
    for name in value if isinstance(value, list) else [value]:
        if str(name) not in composer.options(group):
            yield _unknown_option(override, group, str(name), composer)


def value_fault(override: Override, cfg: DictConfig, groups: Sequence[str]) -> str | None:
    """Set the value in `cfg`; what is wrong with it, or None."""
    key, line = override.key, override.line
    parent = key.rpartition(".")[0]
    unset = next((each for each in _ancestors(parent) if _is_none(cfg, each)), None)
    if unset is not None:
        return f"{line}: {unset} is not set. Choose {unset}=... first" + (
            f", or set {key.replace(unset, unset[:-2], 1)} for both sides." if unset in _OPTIONAL[:2] else "."
        )
    try:
        OmegaConf.update(cfg, key, override.value, merge=True)
    except (ConfigAttributeError, ConfigKeyError):
        return f"{line}: {unknown_key(key, cfg, groups)}"
    except OmegaConfBaseException as error:
        valid = choices_of(cfg, key)
        remedy = choose(str(override.value), valid) if valid else ""
        return f"{line}: {str(error).splitlines()[0]}. {remedy}".replace("..", ".").strip()
    if override.sign == "+":
        return f"{line}: {key} is there already. Write {line.lstrip('+')}."
    return None


def doubtful_value_fault(override: Override) -> str | None:
    """The fault of a value below a group whose choice is wrong: no option of the group has such a key."""
    group = override.key.partition(".")[0]
    valid = group_keys(group)
    if not valid or override.key in (group, *valid):
        return None
    listed = choose(override.key, sorted(valid))
    return f"{override.line}: {override.key} is no key of the configuration. {listed}"


def _unknown_option(override: Override, group: str, name: str, composer: Composer) -> str:
    if group == "hydra/launcher" and name in STOCK_LAUNCHERS:
        return (
            f"{override.line}: Hydra's own launcher knows no stages, dependencies or resumption. "
            f"Choose hydra/launcher={STOCK_LAUNCHERS[name]}."
        )
    for other, kind in _KINDS.items():
        if other != group and name in composer.options(other):
            return (
                f"{override.line}: {name} is {kind}; set {other}={name}. "
                f"For {group}: {choose(name, composer.options(group))}"
            )
    return f"{override.line}: {group} has no option {name}. {choose(name, composer.options(group))}"


def _ancestors(parent: str) -> Iterator[str]:
    names = parent.split(".") if parent else []
    for depth in range(1, len(names) + 1):
        yield ".".join(names[:depth])


def _is_none(cfg: DictConfig, key: str) -> bool:
    owner, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, owner) if owner else cfg
    return isinstance(node, DictConfig) and name in node and node.get(name) is None

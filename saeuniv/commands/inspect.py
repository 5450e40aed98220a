"""`saeuniv inspect <folder|name>`: which dictionaries there are, how well they fit a model, what to write."""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from saeuniv.adapters import formats
from saeuniv.adapters.checkpoints import LocalFolder
from saeuniv.adapters.dictionary_facts import DictionaryFacts, dictionary_facts
from saeuniv.adapters.dictionary_sources import absent_layers
from saeuniv.adapters.folders import model_facts
from saeuniv.adapters.formats import Entry, Format, natural
from saeuniv.adapters.hub import HubFolder
from saeuniv.adapters.hub_errors import HubUnreachable
from saeuniv.adapters.published import known_release
from saeuniv.commands.shell import DONE, parser, say
from saeuniv.config import (
    ConfigError,
    DictionaryFormat,
    HubModel,
    HubSae,
    LocalModel,
    LocalSae,
    Side,
    StdlibData,
    TextData,
    parse_width,
)
from saeuniv.config.layers import Expansion
from saeuniv.hookpoints import HookpointKind
from saeuniv.report.console import console

Groups = dict[tuple[HookpointKind | None, int | None], list[Entry]]


def main(argv: Sequence[str]) -> int:
    """Show the dictionaries of a source; with a model also how well they fit it.

    Raises:
        ConfigError: no such source or model, no dictionaries in it, or none that fit the model.
        ValueError: files that are damaged.
    """
    given = _parser().parse_args(argv)
    source = _source(given.source, given.revision)
    form, entries = formats.find(source, _names(source), forced=given.format)
    groups = _grouped(entries)
    say(f"{given.source}: format {form.name}, {len(entries)} dictionaries")
    _table(source, form, groups)
    kind = HookpointKind(given.hookpoint) if given.hookpoint else _first_kind(groups)
    sae = _sae(given, kind)
    if given.model:
        _fit(given, sae)
    say("Overrides for side a (width and l0 as you like):")
    say(f"  {_overrides(given, form, groups, kind)}")
    return DONE


def _parser() -> argparse.ArgumentParser:
    arguments = parser(
        "inspect", "Which dictionaries a folder or a hub repository has, and what to write for it."
    )
    arguments.add_argument("source", help="a folder, or owner/name of a hub repository")
    arguments.add_argument("--revision", default="main", help="of the repository")
    choices = [each.value for each in DictionaryFormat]
    arguments.add_argument("--format", default="auto", choices=choices, help="where the files do not tell")
    arguments.add_argument(
        "--hookpoint", choices=[each.value for each in HookpointKind], help="of those there are"
    )
    arguments.add_argument("--width", default="published", help="number of latents, 16k")
    arguments.add_argument("--l0", default="canonical", help="which of several of one width")
    arguments.add_argument("--model", metavar="FOLDER|NAME", help="measure how well they fit its activations")
    arguments.add_argument(
        "--text", metavar="FILE", help="measure on this text, not on Python's documentation"
    )
    return arguments


def _source(name: str, revision: str) -> LocalFolder | HubFolder:
    return LocalFolder.at(name, "source") if _is_here(name) else HubFolder(name, revision, f"source={name}")


def _is_here(name: str) -> bool:
    """A folder of this machine; whatever cannot be a hub name is taken for one that is missing."""
    return Path(name).expanduser().exists() or name.count("/") != 1 or name.startswith((".", "/", "~"))


def _names(source: LocalFolder | HubFolder) -> Sequence[str]:
    if isinstance(source, LocalFolder):
        return source.names()
    try:
        return list(source.files("the list of its files"))
    except HubUnreachable:
        if not (names := source.names()):
            raise
        return names


def _grouped(entries: Sequence[Entry]) -> Groups:
    groups: Groups = defaultdict(list)
    for each in entries:
        groups[each.kind, each.width].append(each)
    return groups


def _first_kind(groups: Groups) -> HookpointKind:
    """The residual stream where there is a choice."""
    kinds = [kind for kind, _ in groups if kind is not None]
    return HookpointKind.resid_post if not kinds or HookpointKind.resid_post in kinds else kinds[0]


def _table(source: LocalFolder | HubFolder, form: Format, groups: Groups) -> None:
    """A line for each hookpoint and width; headers are read of the first of each."""
    table = Table("hookpoint", "layers", "width", "k or L0", "activation", "d_in", box=box.SIMPLE_HEAD)
    faults: list[str] = []
    for (kind, width), entries in groups.items():
        about = form.contents(source, entries[0])
        l0 = sorted({each.l0 for each in entries if each.l0}, key=natural)
        k = f"k {about.k}" if about.k else (", ".join(l0[:8]) + (" ..." if len(l0) > 8 else "") or "-")
        layers = _ranges(sorted({each.layer for each in entries}))
        shown = str(width or about.width)
        table.add_row(
            kind.value if kind else "(not said)", layers, shown, k, about.activation, str(about.d_in or "-")
        )
        faults += [f"{entries[0].folder} {fault}" for fault in about.faults]
        if about.base_model:
            faults.append(f"base model, as its files say: {about.base_model}")
    console().print(table)
    release = known_release(source.repository) if isinstance(source, HubFolder) else None
    if release:
        say(f"base model of this release: {release.model}")
    for fault in dict.fromkeys(faults):
        say(fault)


def _ranges(layers: Sequence[int]) -> str:
    """Runs of numbers, as `0-3,7`."""
    words: list[str] = []
    start = 0
    for i, layer in enumerate(layers):
        if i + 1 == len(layers) or layers[i + 1] != layer + 1:
            words.append(str(layer) if layers[start] == layer else f"{layers[start]}-{layer}")
            start = i + 1
    return ",".join(words)


def _sae(given: argparse.Namespace, kind: HookpointKind) -> LocalSae | HubSae:
    sae = LocalSae(path=given.source) if _is_here(given.source) else HubSae(name=given.source)
    if isinstance(sae, HubSae):
        sae.revision = given.revision
    sae.hookpoint, sae.l0, sae.format = kind, given.l0, DictionaryFormat(given.format)
    # It is the fit that is asked for here.
    sae.allow_other_base = True
    return sae


def _fit(given: argparse.Namespace, sae: LocalSae | HubSae) -> None:
    """Print the FVU of each dictionary on 2k tokens, at its hookpoint and at the neighbours."""
    width = parse_width(given.width, "--width")
    if isinstance(width, Expansion):
        raise ConfigError(
            f"--width={given.width}: expected a number of latents or published. Choose 16k, say."
        )
    model = LocalModel(path=given.model) if _is_here(given.model) else HubModel(name=given.model)
    facts = model_facts(model, key="--model")
    side = Side("a", model, sae, width, "all")
    absent = absent_layers(side, facts)
    layers = [layer for layer in range(facts.n_layers) if layer not in absent]
    known = dictionary_facts(sae, model, facts, layers, width, key="source")
    from saeuniv.adapters.fitting import fvu_of

    text = TextData(path=given.text) if given.text else StdlibData()
    found = fvu_of(facts.folder, facts.identity.get("commit"), known, text)
    for each in known:
        say(f"{each.hookpoint}: FVU {_shown(found[each.hookpoint], each, sae.max_fvu)}")


def _shown(fvu: dict[str, float], each: DictionaryFacts, max_fvu: float) -> str:
    own = fvu[str(each.hookpoint)]
    near = ", ".join(
        f"{value:.3f} at {place}" for place, value in fvu.items() if place != str(each.hookpoint)
    )
    lowest = min(fvu, key=fvu.__getitem__)
    remark = "" if lowest == str(each.hookpoint) else f"; fits {lowest} best"
    if own > max_fvu:
        remark += f"; a run refuses more than {max_fvu:g}, unless sae_a.max_fvu allows it"
    return f"{own:.3f} ({near}){remark}"


def _overrides(given: argparse.Namespace, form: Format, groups: Groups, kind: HookpointKind) -> str:
    here = _is_here(given.source)
    words = (
        ["sae_a=local", f"sae_a.path={given.source}"] if here else ["sae_a=hub", f"sae_a.name={given.source}"]
    )
    words += [f"sae_a.revision={given.revision}"] if given.revision != "main" else []
    words += [f"sae_a.hookpoint={kind.value}"] if kind is not HookpointKind.resid_post else []
    words += [f"sae_a.format={form.name}"] if given.format != "auto" else []
    widths = sorted({width for group, width in groups if width and group in (None, kind)})
    words += (
        [f"width_a={given.width if given.width != 'published' else widths[0]}"] if len(widths) > 1 else []
    )
    words += [f"sae_a.l0={given.l0}"] if form.several else []
    return " ".join([*words, "control=none"])

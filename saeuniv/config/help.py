"""The page that `--help` shows."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

COMMANDS = {
    "plan": "what these overrides would do: comparisons, tasks, GPU hours, disk; nothing is run",
    "fetch": "fetch what these overrides need from hubs, saying first how much that is",
    "status": "how a sweep stands; without a name, which sweeps there are",
    "logs": "what the jobs of a sweep said",
    "cancel": "cancel the jobs of a sweep",
    "retry": "ask for a sweep again: what failed is done again, what lives is attached to",
    "report": "figures and tables of a sweep or a comparison again, from its results",
    "compare": "how the comparisons of one sweep differ from those of another, with paired intervals",
    "figure": "heatmaps, depth curves, layer paths and curves against tokens, as PDF, SVG and PNG",
    "export": "dictionaries, latents and results of a sweep or a comparison in a folder, for others",
    "import": "what export wrote, verified, into the store and below multirun/",
    "sync": "upload the W&B runs of a sweep, once everything they need is there; --rebuild makes them anew",
    "workspace": "a saved view of a sweep in W&B: heatmaps over layer pairs, faceted by comparison",
    "inspect": "which dictionaries a folder or hub repository has, and how they fit a model",
    "store": "what the store holds (du), and what of it may go (gc)",
    "doctor": "what this machine, the store and SLURM can do; with --job the nodes as well",
    "task": "run one task that `plan --emit` wrote (task run FILE)",
}
"""The commands beside the Hydra application (saeuniv.commands), and what they do."""

CITE = "--cite"
"""The flag that prints what to cite; it takes a sweep as commands do."""

_GROUPS = {
    "a": ("model", "the first model"),
    "b": ("model", "the second model"),
    "models": ("models", "both at once, with dictionaries and text that suit them"),
    "sae": ("sae", "dictionaries of both sides; sae_a= and sae_b= set one"),
    "data": ("data", "the text both models read"),
    "alignment": ("alignment", "how latents of A are put in pairs with latents of B"),
    "metrics": ("metrics", "what is computed for each layer pair; a list"),
    "control": ("control", "what stands beside the comparison"),
    "tracking": ("tracking", "Weights & Biases"),
    "experiment": ("experiment", "whole presets"),
    "hydra/launcher": ("hydra/launcher", "where a sweep (-m) runs: on this machine, or as jobs"),
}

_INTRODUCTION = """\
saeuniv measures whether two language models learn the same features: it aligns the latents of their
sparse autoencoders on the same tokens and compares the two feature spaces for every layer pair,
against nulls and an untrained control. Without arguments it runs the embedded experiment."""

_EXAMPLES = """\
Examples (saeuniv stands for `python launch.py` as well)
  saeuniv                                               the embedded experiment, offline, about three minutes
  saeuniv alignment=mutual_nn metrics=[cka,svcca]       other methods on the same latents
  saeuniv models=pythia70m_pythia160m data.path=corpus  real models with published dictionaries
  saeuniv a=hub a.name=EleutherAI/pythia-1b b=local b.path=mine sae=train width=16k data=text data.path=corpus
  saeuniv -m layers.a=0,1,2 alignment=max_corr,hungarian    a sweep: one comparison per alignment"""

_COMMANDS = "Commands (saeuniv <command> ...; each has --help)"

_FOOTER = """\
Any value: key=value, for example layers.b=0-3 nulls.draws=199. `--cfg job` shows them all.
Options of your own: --config-dir <folder>, or SAEUNIV_CONFIG_DIR.
What to cite: saeuniv --cite, with the name of a sweep also what it was made with.
Completion: eval "$(saeuniv -sc install=bash)".
Exit codes: 0 done, 1 work failed, 2 wrong configuration, 130 interrupted."""


def help_page(conf_dirs: Sequence[Path]) -> str:
    """What this is, groups with their options in `conf_dirs`, examples, commands.

    Written by ourselves: Hydra lists all groups, ours and its own, for any page, which takes nine seconds.
    """
    lines = [_INTRODUCTION, "", "Groups (group=option)"]
    for name, (folder, meaning) in _GROUPS.items():
        options = sorted({file.stem for each in conf_dirs for file in (each / folder).glob("*.yaml")})
        lines.append(f"  {name:<16}{meaning}")
        lines += textwrap.wrap(" ".join(options), 100, initial_indent=" " * 20, subsequent_indent=" " * 20)
    lines += ["", _EXAMPLES, "", _COMMANDS]
    lines += [f"  {name:<16}{meaning}" for name, meaning in COMMANDS.items()]
    lines += ["", _FOOTER]
    return "\n".join(lines) + "\n"

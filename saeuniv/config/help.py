"""The page that `--help` shows."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

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

_FOOTER = """\
Any value: key=value, for example layers.b=0-3 nulls.draws=199. `--cfg job` shows them all.
Options of your own: --config-dir <folder>, or SAEUNIV_CONFIG_DIR.
Completion: eval "$$(saeuniv -sc install=bash)".
Exit codes: 0 done, 1 work failed, 2 wrong configuration, 130 interrupted."""


def help_page(conf_dirs: Sequence[Path]) -> dict[str, str]:
    """The node of hydra/help: what this is, the groups with their options in `conf_dirs`, five examples."""
    lines = [_INTRODUCTION, "", "Groups (group=option)"]
    for name, (folder, meaning) in _GROUPS.items():
        options = sorted({file.stem for each in conf_dirs for file in (each / folder).glob("*.yaml")})
        lines.append(f"  {name:<11}{meaning}")
        lines += textwrap.wrap(" ".join(options), 100, initial_indent=" " * 15, subsequent_indent=" " * 15)
    lines += ["", _EXAMPLES, "", _FOOTER]
    return {"app_name": "saeuniv", "header": "", "footer": "", "template": "\n".join(lines) + "\n"}

"""What is cited, from CITATION.cff and from results alone."""

from pathlib import Path

from omegaconf import OmegaConf

from saeuniv.sweep.sharing.citation import citation, sources_text
from saeuniv.sweep.sharing.used import used

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """# Replay: x
a: {name: EleutherAI/pythia-70m, revision: step3000}
b: {path: models/mine}
sae: {release: eleuther}
sae_b: {path: saes/mine}
data: {name: Skylion007/openwebtext, revision: main}
"""


def test_the_software_and_the_paper_are_cited() -> None:
    text, cff = citation(), OmegaConf.load(ROOT / "CITATION.cff")
    assert text.startswith("@software{saeuniv,\n") and f"title = {{{cff.title}}}" in text
    assert f"version = {{{cff.version}}}" in text and "author = {{The saeuniv authors}}" in text
    assert "author = {Lan and Torr and Meek and Khakzar and Krueger and Barez}" in text
    assert "eprint = {2410.06981}" in text and "archivePrefix = {arXiv}" in text
    assert text.count("{") == text.count("}")


def test_models_dictionaries_and_text_are_those_that_results_name(make_results) -> None:
    made = make_results(lambda *_: 0.1, 2, 2, sae_a="EleutherAI/sae-pythia-70m-32k", revision_a="c" * 40)
    made.__dict__["config"] = CONFIG
    lines = list(sources_text(used([made, made])))
    assert [line.split()[0] for line in lines] == ["model", "model", "dictionaries", "dictionaries", "text"]
    assert lines[0].endswith(f"https://huggingface.co/EleutherAI/pythia-70m, revision {'c' * 40}")
    assert lines[1].endswith("models/mine")
    assert lines[2].endswith("https://huggingface.co/EleutherAI/sae-pythia-70m-32k, revision main")
    assert lines[3].endswith("saes/mine")
    assert lines[4].endswith("https://huggingface.co/datasets/Skylion007/openwebtext, revision main")


def test_what_was_made_here_says_so(make_results) -> None:
    lines = list(sources_text(used([make_results(lambda *_: 0.1, 2, 2)])))
    assert all(line.endswith("made here") for line in lines) and len(lines) >= 2

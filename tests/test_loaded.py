"""What a notebook sees of a comparison made by hand: tables, matches, text, figures, and messages."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import saeuniv
from saeuniv.numerics.assignment import Matching
from saeuniv.results import write_results
from saeuniv.stages.contexts import Context
from saeuniv.stages.shown_contexts import Contexts
from tests.stored_runs import byte_tokens, make_stored_run

NOTEBOOK = Path(__file__).parents[1] / "docs" / "results.ipynb"


@pytest.fixture
def run(tmp_path, make_row):
    """Latents 0 and 1 of A are 1 and 0 of B in layer pair (0, 1), on four documents."""
    tokens = byte_tokens({f"doc{i}<b>": "the cat <i>sat</i> on a mat\n\t " * 4 for i in range(4)}, 31)
    rng = np.random.default_rng(0)
    a = np.where(rng.random((tokens.n_rows, 2)) < 0.3, rng.random((tokens.n_rows, 2)), 0).astype(np.float32)
    matching = Matching(np.array([0, 1]), np.array([1, 0]), np.array([0.5, 0.5]))
    b = a[:, ::-1].copy()
    return make_stored_run(tmp_path, make_row, tokens, {0: a}, {1: b}, matches={(0, 1): {"both": matching}})


def test_matches_are_a_table_of_the_best_first(run):
    frame = saeuniv.load(run.folder).matches(0, 1)
    assert list(frame.columns[:4]) == ["latent_a", "latent_b", "r", "r_held_out"]
    assert sorted(zip(frame.latent_a, frame.latent_b, strict=True)) == [(0, 1), (1, 0)]
    np.testing.assert_allclose(frame.r_held_out, 1.0)
    assert frame.attrs == {"alignment": "max_corr", "condition": "none"}


def test_contexts_are_those_of_the_match_and_say_so(run):
    loaded = saeuniv.load(run.folder / "results")
    shown = loaded.contexts("0", "1", 0, n=2, before=3, after=3)
    assert len(shown) == 4 and shown[0].of == "a" and shown[2].of == "b"
    first = loaded.matches(0, 1).iloc[0]
    assert repr(shown).startswith(
        f"match 0 of layer pair (0, 1): latent {first.latent_a} of A, {first.latent_b} of B"
    )
    assert repr(shown).count("\n") == 4


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


def test_hostile_text_is_escaped_as_text_and_as_html():
    tokens = ("<script>alert(1)</script>", "\x1b[31m\n", "", "&amp;", "\u202e")
    values = np.array([0.0, 1.0, np.nan, 0.5, 0.0])
    shown = Contexts("<b>title</b>", (Context("<img src=x>\n", "<b>\n", "a", 1, tokens, values, values),))
    assert r">>\x1b[31m\n<<" in repr(shown) and r"\u202e" in repr(shown)
    assert "\x1b" not in repr(shown) and repr(shown).count("\n") == 1
    parser = _Tags()
    parser.feed(shown._repr_html_())
    assert r"<img src=x>\n, <b>\n" in parser.text and r"[<img src=x>\n, <b>\n]" in repr(shown)
    assert parser.tags == {"table", "caption", "tr", "td", "span"}
    assert "<script>alert(1)</script>" in parser.text and "&amp;" in parser.text
    assert "\x1b" not in parser.text and "\u202e" not in parser.text


@pytest.fixture
def written(tmp_path, make_results):
    made = make_results(
        lambda metric, i, j: (
            {**{"value": 0.5 + i, "excess": 0.25 + j, "control": 0.125, "diff_control": 0.375 + i}}
            if (i, j) != (0, 0)
            else None
        ),
        2,
        3,
    )
    write_results(
        tmp_path,
        **{"rows": made.rows, "null_rows": (), "layers_a": made.layers_a, "layers_b": made.layers_b},
        **{"summary": {"primary_metric": "partial_correlation"}, "config": "", "status": {"state": "done"}},
        figures=None,
    )
    return saeuniv.load(tmp_path)


def test_matrices_are_less_the_null_or_the_control(written):
    nan = np.nan
    for minus, expected in (
        (None, [[nan, 0.5, 0.5], [1.5, 1.5, 1.5]]),
        ("null", [[nan, 1.25, 2.25], [0.25, 1.25, 2.25]]),
        ("control", [[nan, 0.375, 0.375], [1.375, 1.375, 1.375]]),
    ):
        np.testing.assert_equal(written.matrix("partial_correlation", minus=minus), expected)


def test_the_table_has_every_row_and_column_of_layer_pairs(written):
    assert written.table.shape == (6, len(written.results.rows[0].__dataclass_fields__))
    assert written.table.layer_b.tolist() == ["0", "1", "2"] * 2
    assert written.table.value.isna().tolist() == [True, *[False] * 5]


def test_name_summary_and_figure_are_at_hand(written):
    assert written.comparison == "tiny_s0-tiny_s1-hungarian-0123abcd"
    assert written.summary["primary_metric"] == "partial_correlation"
    assert "2 x 3 layers" in repr(written)
    assert len(written.heatmap().axes) >= 2


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda r: r.matrix("partial_corelation"), "Did you mean partial_correlation"),
        (lambda r: r.heatmap("cka"), "Choose from: partial_correlation"),
        (lambda r: r.matrix("partial_correlation", minus="chance"), "expected null, control or None"),
        (lambda r: r.matrix("partial_correlation", "p", minus="null"), "expected statistic='value', got 'p'"),
        (lambda r: r.matches(3, 0), r"layer_a=3: expected a layer of these results.*Choose from: 0, 1\."),
        (lambda r: r.contexts(0, "9", 0), r"layer_b='9'.*Choose from: 0, 1, 2\."),
    ],
)
def test_bad_input_is_answered_with_what_there_is(written, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(written)


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(ValueError, match="expected the folder of a comparison or its results/"):
        saeuniv.load(tmp_path)


def test_nothing_of_it_imports_torch(run):
    code = (
        f"import saeuniv, sys; r = saeuniv.load({str(run.folder)!r}); r.matrix('partial_correlation');"
        "r.table; r.reasons('partial_correlation');"
        "r.matches(0, 1); r.contexts(0, 1, 0)._repr_html_(); r.heatmap('partial_correlation');"
        "print([m for m in ('torch', 'transformers', 'hydra', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_notebook_runs(run, monkeypatch):
    monkeypatch.setenv("SAEUNIV_RESULTS", str(run.folder))
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert isinstance(names["shown"], Contexts) and len(cells) >= 5
    assert all(cell["outputs"] == [] for cell in cells)

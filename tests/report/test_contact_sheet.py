"""Blocks of matched latents: which are shown, in which order, and where they stand on the sheet."""

import numpy as np
from PIL import Image

from saeuniv.report.contact_sheet import contact_sheet, shown_matches, write_contact_sheet


def test_matches_are_shown_by_quantile_from_the_best_to_the_worst():
    r = np.random.default_rng(0).permutation(np.linspace(0.2, 0.9, 300))
    shown = r[shown_matches(r)]
    assert (len(shown), shown[0], shown[-1]) == (64, 0.9, 0.2)
    # Evenly over an even distribution.
    np.testing.assert_allclose(np.diff(shown), -0.7 / 63, atol=0.7 / 299)


def test_few_matches_are_all_shown_and_those_without_a_correlation_are_not():
    assert shown_matches(np.array([0.1, np.nan, 0.3])).tolist() == [2, 0]
    assert not len(shown_matches(np.full(2, np.nan)))


def test_blocks_stand_at_their_layers_and_what_is_missing_is_white():
    block = np.array([[1.0, 0.0], [np.nan, -1.0]])
    sheet = contact_sheet({("1", "2"): block}, ["0", "1"], ["0", "1", "2"], size=2)
    assert sheet.shape == (8, 14, 3)
    red, white, blue = sheet[6, 12], sheet[7, 12], sheet[7, 13]
    assert red[0] > 90 > red[2] and blue[2] > 90 > blue[0]
    assert (white == 255).all()
    sheet[6:, 12:] = 255
    assert (sheet == 255).all()


def test_the_sheet_is_written_with_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_contact_sheet({("0", "0"): np.eye(3)}, ["0"], ["0"], tmp_path / name)
    one, two = (tmp_path / name / "contact_sheet.png" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with Image.open(one) as image:
        assert image.size == (64, 64)

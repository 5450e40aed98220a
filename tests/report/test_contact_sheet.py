"""Blocks of matched latents: which are shown, in which order, and where they stand on the sheet."""

import numpy as np
from PIL import Image

from saeuniv.report.contact_sheet import contact_sheet, matched_block, write_contact_sheet


def test_a_block_has_its_matches_on_the_diagonal_from_the_best_to_the_worst():
    rng = np.random.default_rng(0)
    correlations = rng.uniform(-0.1, 0.1, (300, 300))
    np.fill_diagonal(correlations, rng.permutation(np.linspace(0.2, 0.9, 300)))
    block = matched_block(correlations)
    assert block.shape == (64, 64)
    diagonal = np.diagonal(block)
    assert (diagonal[0], diagonal[-1]) == (0.9, 0.2)
    # By quantile: evenly over an even distribution.
    np.testing.assert_allclose(np.diff(diagonal), -0.7 / 63, atol=0.7 / 299)
    assert np.abs(block - np.diag(diagonal)).max() <= 0.1


def test_few_matches_are_all_shown_and_those_without_a_correlation_are_not():
    correlations = np.diag([0.1, np.nan, 0.3])
    np.testing.assert_array_equal(matched_block(correlations), np.diag([0.3, 0.1]))
    assert matched_block(np.full((2, 2), np.nan)).shape == (0, 0)


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

"""The columns of the contract, and rows that are refused."""

import dataclasses

import pytest

from saeuniv.results import REASONS, NullRow, Row, columns

# A literal copy of the results contract (design, section 6).
_CONTRACT = """
comparison, model_a, model_b, revision_a, revision_b, hookpoint_a, hookpoint_b, layer_a, layer_b, sae_a,
sae_b, d_sae_a, d_sae_b, l0_a, l0_b, fvu_a, fvu_b,
fvu_high_norm_a, fvu_high_norm_b, dead_fraction_a, dead_fraction_b, loss_recovered_a, loss_recovered_b,
 alignment, direction, metric, space, value, null,
null_mean, null_std, null_draws, control, calibrated, excess, z, diff_control, diff_ci_low, diff_ci_high,
p_value, q_value, ci_low, ci_high, n_matches, n_eligible_a, n_eligible_b, n_alive_a, n_alive_b,
eligible_mass_a, eligible_mass_b, context_share_a, context_share_b, n_tokens, n_documents, seed, flags,
reason
"""


def test_the_columns_are_those_of_the_contract_in_its_order():
    assert columns(Row) == tuple(name.strip() for name in _CONTRACT.split(","))


# A literal copy of the codes whose numbers stand in matrices.npz on disk: new ones come after these.
_CODES = """
not_requested no_eligible_latents few_degrees_of_freedom too_few_matches undefined_similarity few_documents
few_shifts matching_size_varies too_many_latents needs_rematching no_null failed not_computed no_interval
matched_without_tokens other_basis no_token_text few_latents
"""


def test_the_first_reason_code_means_defined_and_the_others_keep_their_numbers():
    assert list(REASONS) == ["", *_CODES.split()]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(make_row, number):
    with pytest.raises(ValueError, match=r"expected a finite z, got .*Leave undefined numbers empty"):
        make_row(z=number)


def test_an_empty_value_without_a_reason_is_refused(make_row):
    with pytest.raises(ValueError, match="expected a reason beside an empty value, got none"):
        make_row(value=None)


def test_an_unknown_reason_code_is_refused_with_the_codes_there_are(make_row):
    with pytest.raises(ValueError, match=r"expected reason codes, got too_few_friends.*too_few_matches"):
        make_row(reason="no_null;too_few_friends")


@pytest.mark.parametrize(
    ("name", "choices"), [("direction", "a_to_b, b_to_a, both"), ("space", "tokens, decoder")]
)
def test_an_unknown_direction_or_space_is_refused(make_row, name, choices):
    with pytest.raises(ValueError, match=f"{name}='sideways' is not known. Choose one of: {choices}"):
        make_row(**{name: "sideways"})


def test_the_reason_of_the_value_is_the_first_code_only_where_the_value_is_empty(make_row):
    assert make_row(value=None, reason="few_documents;no_null").value_reason == "few_documents"
    assert make_row(p_value=None, reason="not_requested").value_reason == ""


def test_a_null_row_refuses_what_is_not_finite(make_results):
    row: NullRow = make_results(lambda metric, i, j: 0.1, 1, 1).null_rows[0]
    with pytest.raises(ValueError, match="expected a finite q95"):
        dataclasses.replace(row, q95=float("nan"))

"""Filters in the language of W&B's library, and whose an API key is."""

from types import SimpleNamespace

import pytest

from saeuniv.tracking.service import default_entity, faults_in_words, library, runs_where

# The library's own, met when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Pydantic V1:DeprecationWarning", "ignore:.*deprecated")


@pytest.mark.parametrize(
    "value",
    ["few", "2026-11-29_01.30", "it's", 'a "b"', "k=2", "<a>", "a\\b", "within_last 5 days", "ж²", "x and y"],
)
def test_the_library_reads_every_value_as_it_was_given(value: str) -> None:
    expr = library("a test").expr
    for given in ({"group": value}, {"group": "s", "displayName": value}):
        found = expr.filters_tree_to_v2(expr.expr_to_filters(runs_where(**given)))["filters"]
        assert {each["key"]["name"]: each["value"] for each in found if "key" in each} == given
        assert [each["connector"] for each in found if "connector" in each] in ([], ["AND"])


def test_an_api_key_without_an_entity_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(default_entity=None))
    with pytest.raises(ValueError, match="--entity=<name>"):
        default_entity()


def test_whatever_a_server_makes_a_library_raise_is_one_fault_in_words() -> None:
    class CommError(Exception):
        pass

    with pytest.raises(ValueError, match=r"got CommError: no answer\. Nothing on disk"), faults_in_words():
        raise CommError("no answer.")

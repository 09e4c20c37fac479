# SPDX-License-Identifier: Apache-2.0
"""What a user may write for ``job_id``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mpc.api.errors import MpcInputError
from airflow_provider_mpc.api.job_ids import is_single, normalize_job_id, normalize_job_ids


def test_one_id_is_a_list_of_one():
    assert normalize_job_ids("30647") == ["30647"]


def test_a_number_and_its_text_are_the_same_id():
    assert normalize_job_ids([30647, "30647"]) == ["30647"]


def test_zero_is_an_id():
    assert normalize_job_ids(0) == ["0"]


def test_duplicates_are_kept_once_in_the_order_given():
    assert normalize_job_ids(["3", "1", 3, "2", "1"]) == ["3", "1", "2"]


def test_blanks_around_an_id_are_cut_off():
    assert normalize_job_ids([" 1\n", "1"]) == ["1"]


@pytest.mark.parametrize("ids", [("1", "2"), ["1", "2"], (one for one in ("1", "2")), dict.fromkeys("12").keys()])
def test_any_sequence_of_ids_will_do(ids):
    assert normalize_job_ids(ids) == ["1", "2"]


@pytest.mark.parametrize("text", ["a b", "a/b", "a?b", "a%20b", "a+b", "é中", "-5", "a" * 256])
def test_odd_but_possible_ids_pass_unchanged(text):
    assert normalize_job_id(text) == text


@pytest.mark.parametrize("text", ["['1', '2']", '["1"]', "[]", "('1', '2')", "{'1'}", " [1, 2] "])
def test_a_rendered_list_is_told_how_to_stay_a_list(text):
    with pytest.raises(MpcInputError) as caught:
        normalize_job_ids(text)
    assert ".output" in str(caught.value)
    assert "render_template_as_native_obj" in str(caught.value)


def test_a_rendered_list_inside_a_list_is_told_the_same():
    with pytest.raises(MpcInputError, match="render_template_as_native_obj"):
        normalize_job_ids(["['1', '2']"])


@pytest.mark.parametrize("text", ["None", "null", " None "])
def test_a_rendered_none_points_at_the_upstream_task(text):
    with pytest.raises(MpcInputError, match="upstream"):
        normalize_job_ids(text)


def test_none_points_at_the_upstream_task():
    with pytest.raises(MpcInputError, match="upstream"):
        normalize_job_ids(None)


def test_a_comma_is_told_to_be_a_list():
    with pytest.raises(MpcInputError, match=r"comma.*job_id=\['1', '2'\]"):
        normalize_job_ids("1,2")


@pytest.mark.parametrize("ids", [[], (), iter(())])
def test_an_empty_list_is_refused(ids):
    with pytest.raises(MpcInputError, match="empty list"):
        normalize_job_ids(ids)


@pytest.mark.parametrize("ids", ["", "  ", "\t\n", [""], ["1", " "]])
def test_an_empty_id_is_refused(ids):
    with pytest.raises(MpcInputError, match="empty"):
        normalize_job_ids(ids)


@pytest.mark.parametrize(
    "ids",
    [
        True,
        False,
        1.0,
        b"30647",
        bytearray(b"12"),
        memoryview(b"12"),
        {"1": "2"},
        {},
        object(),
        [None],
        [True],
        [1.5],
        [b"1"],
        [["1"]],
        [{"job_id": "1"}],
    ],
    ids=repr,
)
def test_what_is_no_id_is_refused(ids):
    with pytest.raises(MpcInputError):
        normalize_job_ids(ids)


@pytest.mark.parametrize("text", ["1\n2", "a\x00b", "a\u200bb", "a\ud800", ".", "..", "a" * 257])
def test_ids_that_cannot_stand_in_a_url_are_refused(text):
    with pytest.raises(MpcInputError):
        normalize_job_id(text)


def test_a_huge_number_is_refused_without_being_printed():
    with pytest.raises(MpcInputError) as caught:
        normalize_job_id(10**5000)
    assert len(str(caught.value)) < 200


def test_a_huge_value_does_not_fill_the_text():
    with pytest.raises(MpcInputError) as caught:
        normalize_job_ids("[" + "1, " * 10_000 + "]")
    assert len(str(caught.value)) < 400


def test_the_error_is_a_value_error_and_final():
    assert issubclass(MpcInputError, ValueError)
    assert not MpcInputError("x").retryable


@pytest.mark.parametrize(("value", "single"), [("1", True), (1, True), (["1"], False), (("1",), False), (None, False)])
def test_only_a_bare_id_is_single(value, single):
    assert is_single(value) is single


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)


@given(anything)
def test_whatever_is_given_becomes_clean_ids_or_one_error(value):
    try:
        ids = normalize_job_ids(value)
    except MpcInputError:
        return
    assert ids
    assert len(set(ids)) == len(ids)
    for one in ids:
        assert one == one.strip() != ""
        assert one.isprintable()
        assert "," not in one
    assert normalize_job_ids(ids) == ids

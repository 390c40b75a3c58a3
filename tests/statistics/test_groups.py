"""Tie groups: two methods share a letter exactly where they are not separated."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrabench.errors import RequestError
from contrabench.statistics.ranking import letters, tie_groups


@st.composite
def verdicts(draw, largest=9):
    methods = draw(st.integers(0, largest))
    matrix = np.zeros((methods, methods), dtype=bool)
    for first, second in itertools.combinations(range(methods), 2):
        matrix[first, second] = matrix[second, first] = draw(st.booleans())
    return matrix


def is_clique(group, matrix):
    return not any(matrix[first, second] for first, second in itertools.combinations(group, 2))


def groups_of(mark):
    """The names of the groups in a mark; after `z` a name has a number behind its letter."""
    found = re.findall(r"[a-z]\d*", mark)
    assert "".join(found) == mark
    assert len(found) == len(set(found))
    return set(found)


def assert_shared_where_nothing_separates(marks, matrix):
    assert all(marks)
    for first, second in itertools.combinations(range(len(matrix)), 2):
        shared = groups_of(marks[first]) & groups_of(marks[second])
        assert bool(shared) != matrix[first, second]


@given(verdicts())
@settings(max_examples=300, deadline=None)
def test_a_letter_is_shared_exactly_where_nothing_separates(matrix):
    assert_shared_where_nothing_separates(letters(matrix), matrix)


@given(verdicts(largest=7))
@settings(max_examples=200, deadline=None)
def test_groups_are_maximal_and_none_is_idle(matrix):
    groups = tie_groups(matrix)
    cliques = [
        set(group)
        for size in range(1, len(matrix) + 1)
        for group in itertools.combinations(range(len(matrix)), size)
        if is_clique(group, matrix)
    ]
    maximal = [group for group in cliques if not any(group < other for other in cliques)]
    for group in groups:
        assert set(group) in maximal
        others = [set(other) for other in groups if other != group]
        pairs = itertools.combinations(group, min(2, len(group)))
        assert any(not any(set(pair) <= other for other in others) for pair in pairs)


def test_a_chain_overlaps():
    """The first is like the second and the second like the third, which differ."""
    matrix = np.zeros((3, 3), dtype=bool)
    matrix[0, 2] = matrix[2, 0] = True
    assert tie_groups(matrix) == [(0, 1), (1, 2)]
    assert letters(matrix) == ["a", "ab", "b"]


def test_all_alike_and_all_apart():
    assert letters(np.zeros((3, 3))) == ["a", "a", "a"]
    assert letters(~np.eye(3, dtype=bool)) == ["a", "b", "c"]
    assert letters([[False]]) == ["a"]
    assert letters(np.zeros((0, 0))) == []


def test_letters_do_not_run_out():
    marks = letters(~np.eye(30, dtype=bool))
    assert marks[25:28] == ["z", "a2", "b2"]
    assert len(set(marks)) == 30


def test_beyond_z_a_letter_is_shared_exactly_where_nothing_separates():
    """Sixty in pairs make thirty groups; one more is told apart from none and is in each."""
    matrix = ~np.eye(61, dtype=bool)
    for first in range(0, 60, 2):
        matrix[first, first + 1] = matrix[first + 1, first] = False
    matrix[60, :] = matrix[:, 60] = False
    marks = letters(matrix)
    assert_shared_where_nothing_separates(marks, matrix)
    assert len(groups_of(marks[60])) == 30


@pytest.mark.parametrize(
    "matrix", [[[False, True], [False, False]], [[True]], np.zeros((2, 3))], ids=str
)
def test_what_is_no_comparison_is_refused(matrix):
    with pytest.raises(RequestError):
        tie_groups(matrix)

"""What belongs together on two sides, and what is left alone."""

import pytest
from tests.makers.rows import results

from contrabench.errors import RequestError
from contrabench.report.counterparts import match, side_pairs

from .sides import study

SMOKE, OTHER, THIRD = "a" * 16, "b" * 16, "c" * 16


def protocols(frame, *known):
    """Results with one method under each protocol: hash, budget, and more."""
    rows = []
    for protocol, budget, *more in known:
        changes = dict(*more)
        rows += study("scratch", patients=2, protocol=protocol, budget=budget, **changes)
    return results(frame(*rows))


def hashes(a, b):
    pairs, lonely = side_pairs(a, b)
    return [(ours.word("protocol"), theirs.word("protocol")) for ours, theirs in pairs], lonely


def test_equals_come_first_and_the_rest_by_what_only_one_has():
    ours = [("p1", "smoke"), ("p2", "quick"), ("p4", "long")]
    theirs = [("p3", "quick"), ("p1", "smoke"), ("p5", "long"), ("p6", "long")]
    assert match(ours, theirs) == [(0, 1), (1, 0)]
    assert match(theirs, ours) == [(0, 1), (1, 0)]
    assert match(ours, []) == match([], ours) == []


def test_a_thing_has_one_counterpart_at_most():
    # What is paired as equal does not pair again under a looser key.
    assert match([("v1", "m")], [("v1", "m"), ("v2", "n")]) == [(0, 0)]
    assert match([("v1", "m"), ("v2", "m")], [("v2", "m"), ("v3", "m")]) == [(1, 0)]
    assert match([("v1", "m")], [("v2", "m")]) == [(0, 0)]


def test_equal_hashes_are_a_pair_before_equal_budgets(frame):
    a = protocols(frame, (SMOKE, "smoke"), (OTHER, "quick"))
    b = protocols(frame, (OTHER, "quick"), (SMOKE, "smoke"))
    pairs, lonely = hashes(a, b)
    assert (sorted(pairs), lonely) == ([(SMOKE, SMOKE), (OTHER, OTHER)], [])
    # Nor does a budget tell which of two protocols the third one came from.
    a, b = (protocols(frame, (SMOKE, "x"), (other, "x")) for other in (OTHER, THIRD))
    pairs, lonely = hashes(a, b)
    assert (pairs, len(lonely)) == ([(SMOKE, SMOKE)], 2)


def test_single_protocols_of_a_dataset_are_a_pair_whatever_their_budgets(frame):
    a, b = protocols(frame, (SMOKE, "smoke")), protocols(frame, (OTHER, "quick"))
    assert hashes(a, b) == ([(SMOKE, OTHER)], [])


def test_recipes_tell_protocols_of_one_budget_apart(frame):
    published = {"recipe": "published"}
    a = protocols(frame, (SMOKE, "smoke"), (OTHER, "smoke", published))
    b = protocols(frame, (THIRD, "smoke"), ("0" * 16, "smoke", published))
    pairs, lonely = hashes(a, b)
    assert (sorted(pairs), lonely) == ([(SMOKE, THIRD), (OTHER, "0" * 16)], [])


def test_what_could_belong_to_several_is_named_and_not_guessed(frame):
    a = protocols(frame, (SMOKE, "smoke"), (OTHER, "quick"), ("1" * 16, "quick"))
    b = protocols(frame, (SMOKE, "smoke"), (THIRD, "quick"), ("2" * 16, "x", {"dataset": "ct"}))
    pairs, lonely = hashes(a, b)
    assert pairs == [(SMOKE, SMOKE)]
    quick = "phantom, quick budget, protocol"
    assert lonely[0].endswith(f"of A: {quick} {'1' * 16}; {quick} {OTHER}.")
    assert lonely[1].endswith(f"of B: ct, x budget, protocol {'2' * 16}; {quick} {THIRD}.")
    assert SMOKE not in "".join(lonely)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([(SMOKE, "smoke")], [(SMOKE, "smoke", {"dataset": "ct\n"})]),
        ([(SMOKE, "smoke"), (OTHER, "quick")], [(THIRD, "long")]),
    ],
)
def test_nothing_to_compare_is_one_line_with_a_way_out(frame, ours, theirs):
    with pytest.raises(RequestError, match=r"no protocol of A .* name two") as refused:
        side_pairs(protocols(frame, *ours), protocols(frame, *theirs))
    assert "\n" not in str(refused.value)


def test_label_budgets_that_are_not_asked_for_do_not_count(frame):
    both = results(frame(*study("scratch"), *study("scratch", labels="20%", fraction=0.2)))
    ((ours, _),), _ = side_pairs(both, both, ["20%"])
    assert ours.labels == ["20%"]
    ((ours, _),), _ = side_pairs(both, both)
    assert ours.labels == ["10%", "20%"]
    with pytest.raises(RequestError, match="A holds no finished run"):
        side_pairs(both, both, ["40%"])


def test_a_run_without_a_record_is_counted(frame):
    rows = frame(*study("scratch"))
    ((side, _),), _ = side_pairs(results(rows), results(rows))
    assert side.unrecorded == len(side.runs) == rows["run"].nunique() == 2

"""Whatever is planted between two sides is found, and nothing else."""

import json

import pytest

from contrabench.report.protocol_changes import Change, other_changes, protocol_changes

from .sides import METHOD, PROTOCOL, SOFTWARE, changed, recorded, side, study

ROWS = [*study("scratch"), *study("gcl", 0.1, 1), *study("gcl", 0.1, 2, draw=1)]


def differing(first, second):
    """The definition: paths with leaves that are not equal, found leaf by leaf."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return [] if first == second else [""]
    return [
        f"{name}.{rest}".rstrip(".")
        for name in sorted({*first, *second})
        for rest in differing(first.get(name), second.get(name))
    ]


def both(frame, ours=None, theirs=None, rows=ROWS, other=None):
    return (
        side(recorded(frame(*rows), **(ours or {}))),
        side(recorded(frame(*(rows if other is None else other)), **(theirs or {}))),
    )


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("budget.finetune.images", 800, ("1600", "800")),
        ("budget.finetune.lr", 0.1, ("0.01", "0.1")),
        ("structures", ["LV"], ("LV, RV", "LV")),
        ("recipe.clip_percentiles", [0.5, 99.0], ("0.5, 99.5", "0.5, 99.0")),
        ("dataset_options.seed", 0, (None, "0")),
        ("recipe.crop", True, (None, "true")),
        ("budget.name", "quick", ("smoke", "quick")),
    ],
)
def test_one_planted_setting_is_found_and_only_that(frame, path, value, shown):
    protocol = changed(changed(PROTOCOL, path, value), "hash", "0" * 16)
    other = [{**row, "protocol": "0" * 16} for row in ROWS]
    sides = both(frame, theirs={"protocol": protocol}, other=other)
    assert protocol_changes(*sides) == (Change(path, *shown),)
    assert protocol_changes(*sides[::-1]) == (Change(path, *shown[::-1]),)
    assert other_changes(*sides) == ()


def test_many_settings_are_those_of_a_walk_over_the_leaves(frame):
    protocol = PROTOCOL
    for path, value in (("data", "d2"), ("budget.finetune.images", 1), ("recipe.version", 2)):
        protocol = changed(protocol, path, value)
    other = [{**row, "protocol": "0" * 16} for row in ROWS]
    found = protocol_changes(*both(frame, theirs={"protocol": protocol}, other=other))
    assert [change.setting for change in found] == differing(PROTOCOL, protocol)


def test_equal_hashes_hold_no_change_with_or_without_records(frame):
    assert protocol_changes(*both(frame)) == other_changes(*both(frame)) == ()
    lost = {"lost": ("scratch", "gcl")}
    assert protocol_changes(*both(frame, ours=lost)) == ()
    # What a side does not tell is no difference.
    assert other_changes(*both(frame, ours=lost)) == ()
    assert other_changes(*both(frame, theirs=lost)) == ()


def test_without_a_record_nobody_can_tell(frame):
    other = [{**row, "protocol": "0" * 16} for row in ROWS]
    assert protocol_changes(*both(frame, ours={"lost": ("scratch", "gcl")}, other=other)) is None
    assert protocol_changes(*both(frame, ours={"lost": ("gcl",)}, other=other)) is not None


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"software": {**SOFTWARE, "torch": "2.15"}}, [("software: torch", "2.14", "2.15")]),
        ({"software": {"torch": "2.14"}}, [("software: contrabench", "1.0", None)]),
        ({"device": "H200 (cuda)"}, [("device", "x86_64 (cpu, 1 thread)", "H200 (cuda)")]),
        (
            {"method": {**METHOD, "code": "f00d"}},
            [("gcl: code", "c0de", "f00d"), ("scratch: code", "c0de", "f00d")],
        ),
        (
            {"method": changed(METHOD, "options.heads.size", 32)},
            [(f"{name}: options.heads.size", "64", "32") for name in ("gcl", "scratch")],
        ),
        (
            {"method": {"code": "c0de", "options": {}}},
            [
                (f"{name}: options.{option}", was, None)
                for name in ("gcl", "scratch")
                for option, was in (("heads.size", "64"), ("temperature", "0.1"))
            ],
        ),
        ({"split": "another"}, [("split", "split 0 and 1 more", "another and 1 more")]),
        (
            {"labels_manifest": "another"},
            [("labelled patients at 10%", "10% 0 0 and 3 more", "another and 3 more")],
        ),
    ],
    ids=["version", "package", "device", "code", "option", "no options", "split", "labels"],
)
def test_what_is_planted_beside_the_protocol_is_found_alone(frame, theirs, expected):
    assert other_changes(*both(frame, theirs=theirs)) == tuple(Change(*line) for line in expected)


def test_versions_of_methods_are_those_of_the_rows(frame):
    newer = [*study("scratch"), *study("gcl", 0.1, 1, method_version=2)]
    rows = [*study("scratch"), *study("gcl", 0.1, 1)]
    assert other_changes(*both(frame, rows=rows, other=newer)) == (
        Change("gcl: version", "1", "2"),
    )
    mixed = [*rows, *study("gcl", 0.1, 1, method_version=2)]
    (found,) = other_changes(*both(frame, rows=rows, other=mixed))
    assert found == Change("gcl: version", "1", "1, 2")


def test_what_only_one_side_has_is_no_change_of_the_rest(frame):
    alone = {"method_version": 7, "fidelity": "official", "draw": 9, "seed": 9}
    for more in (
        study("pcl", **alone),
        study("gcl", **alone, deviations="long"),
        study("gcl", **alone, labels="20%", fraction=0.2),
    ):
        assert other_changes(*both(frame, other=[*ROWS, *more])) == ()
        assert other_changes(*both(frame, rows=[*ROWS, *more], other=ROWS)) == ()
        assert other_changes(*both(frame, rows=[*ROWS, *more])) == ()
    assert other_changes(*both(frame, rows=study("gcl"), other=study("pcl", **alone))) == ()


def test_what_was_run_is_told_in_ranges(frame):
    draws = [row for draw in (0, 1, 2, 5) for row in study("scratch", draw=draw, seed=3)]
    found = other_changes(*both(frame, rows=study("scratch"), other=draws))
    assert found == (Change("label draws run", "0", "0 to 2, 5"), Change("seeds run", "0", "3"))
    half = [row for row in study("scratch") if row["fold"] == 0]
    assert other_changes(*both(frame, rows=study("scratch"), other=half)) == (
        Change("folds run", "0 to 1", "0"),
    )


def test_manifests_of_other_cells_are_not_compared(frame):
    """Another draw has another manifest, which is no change of a manifest."""
    first, second = study("scratch"), study("scratch", draw=1)
    found = other_changes(*both(frame, rows=first, other=second))
    assert found == (Change("label draws run", "0", "1"),)


def test_records_of_a_store_are_read_as_they_are(frame):
    """Words of a store are categories, and a fact that is not known is an empty one."""
    found = recorded(frame(*ROWS))
    words = found.runs.select_dtypes("object").columns
    first = side(found)
    second = side(type(found)(found.rows, found.runs.astype(dict.fromkeys(words, "category"))))
    assert other_changes(first, second) == ()
    assert json.loads(second.runs["protocol"].iloc[0]) == PROTOCOL

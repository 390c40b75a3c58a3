"""What belongs together on two sides; whatever is planted between them is found, and no more."""

import pytest
from tests.makers.rows import results

from contrabench.errors import RequestError
from contrabench.report.changes import Change, Changes, changes_section, find_changes, side_pairs

from .sides import METHOD, PROTOCOL, SOFTWARE, changed, recorded, side, study

HASH, OTHER, THIRD = "a" * 16, "b" * 16, "c" * 16
METHODS = ("gcl", "scratch")
OPTIONS = "temperature=0.1, heads.size=64"
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
    assert find_changes(sides).protocol == (Change(path, *shown),)
    assert find_changes(sides[::-1]).protocol == (Change(path, *shown[::-1]),)
    assert find_changes(sides).others == ()


def test_many_settings_are_those_of_a_walk_over_the_leaves(frame):
    protocol = PROTOCOL
    for path, value in (("data", "d2"), ("budget.finetune.images", 1), ("metric_contract", 2)):
        protocol = changed(protocol, path, value)
    other = [{**row, "protocol": OTHER} for row in ROWS]
    found = find_changes(both(frame, theirs={"protocol": protocol}, other=other))
    assert [change.setting for change in found.protocol] == differing(PROTOCOL, protocol)


def test_equal_hashes_hold_no_change_with_or_without_records(frame):
    assert find_changes(both(frame)) == Changes((), ())
    lost = {"lost": ("scratch", "gcl")}
    assert find_changes(both(frame, ours=lost)).protocol == ()
    # What a side does not tell is no difference.
    assert find_changes(both(frame, ours=lost)).others == ()
    assert find_changes(both(frame, theirs=lost)).others == ()


def test_without_a_record_nobody_can_tell(frame):
    other = [{**row, "protocol": "0" * 16} for row in ROWS]
    assert (
        find_changes(both(frame, ours={"lost": ("scratch", "gcl")}, other=other)).protocol is None
    )
    assert find_changes(both(frame, ours={"lost": ("gcl",)}, other=other)).protocol is not None


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"software": {**SOFTWARE, "torch": "2.15"}}, [("torch", "2.14", "2.15")]),
        ({"software": {"torch": "2.14"}}, [("contrabench", "1.0", None)]),
        ({"device": "H200 (cuda)"}, [("device", "x86_64 (cpu, 1 thread)", "H200 (cuda)")]),
        ({"software": {**SOFTWARE, "kernels": "AVX2"}}, [("kernels", None, "AVX2")]),
        (
            {"method": {**METHOD, "code": "f00d"}},
            [("gcl: code", "c0de", "f00d"), ("scratch: code", "c0de", "f00d")],
        ),
        (
            {"method": changed(METHOD, "options.heads.size", 32)},
            [(f"{name}: options", OPTIONS, OPTIONS.replace("64", "32")) for name in METHODS],
        ),
        (
            {"method": {"code": "c0de", "options": {}}},
            [(f"{name}: options", OPTIONS, "–") for name in METHODS],
        ),
        ({"split": "another"}, [("split at 10%", "split 0, split 1", "another")]),
        (
            {"labels_manifest": "another"},
            [("labelled patients at 10%", "10% 0 0, 10% 0 1, 10% 1 0 and 1 more", "another")],
        ),
    ],
    ids=[
        "version",
        "package",
        "device",
        "kernels",
        "code",
        "option",
        "no options",
        "split",
        "labels",
    ],
)
def test_what_is_planted_beside_the_protocol_is_found_alone(frame, theirs, expected):
    assert find_changes(both(frame, theirs=theirs)).others == tuple(
        Change(*line) for line in expected
    )


def test_another_kind_of_machine_is_called_that(frame):
    def told(**theirs):
        sides = both(frame, theirs=theirs)
        return any(
            "another kind of machine" in line
            for line in changes_section(sides, find_changes(sides), ()).verdict
        )

    assert told(device="H200 (cuda)")
    assert told(software={**SOFTWARE, "kernels": "AVX2"})
    assert not told(software={**SOFTWARE, "torch": "2.15"})


def test_versions_of_methods_are_those_of_the_rows(frame):
    newer = [*study("scratch"), *study("gcl", 0.1, 1, method_version=2)]
    rows = [*study("scratch"), *study("gcl", 0.1, 1)]
    assert find_changes(both(frame, rows=rows, other=newer)).others == (
        Change("gcl: version", "1", "2"),
    )
    mixed = [*rows, *study("gcl", 0.1, 1, method_version=2)]
    (found,) = find_changes(both(frame, rows=rows, other=mixed)).others
    assert found == Change("gcl: version", "1", "1, 2")


def test_what_only_one_side_has_is_no_change_of_the_rest(frame):
    alone = {"method_version": 7, "fidelity": "official", "draw": 9, "seed": 9}
    for more in (
        study("pcl", **alone),
        study("gcl", **alone, deviations="long"),
        study("gcl", **alone, labels="20%", fraction=0.2),
    ):
        assert find_changes(both(frame, other=[*ROWS, *more])).others == ()
        assert find_changes(both(frame, rows=[*ROWS, *more], other=ROWS)).others == ()
        assert find_changes(both(frame, rows=[*ROWS, *more])).others == ()
    assert find_changes(both(frame, rows=study("gcl"), other=study("pcl", **alone))).others == ()


def test_what_was_run_is_told(frame):
    draws = [row for draw in (0, 1, 2, 5) for row in study("scratch", draw=draw, seed=3)]
    found = find_changes(both(frame, rows=study("scratch"), other=draws)).others
    assert found == (Change("label draws run", "0", "0, 1, 2, 5"), Change("seeds run", "0", "3"))
    half = [row for row in study("scratch") if row["fold"] == 0]
    assert find_changes(both(frame, rows=study("scratch"), other=half)).others == (
        Change("folds run", "0, 1", "0"),
    )


def test_manifests_of_other_cells_are_not_compared(frame):
    """Another draw has another manifest, which is no change of a manifest."""
    first, second = study("scratch"), study("scratch", draw=1)
    found = find_changes(both(frame, rows=first, other=second)).others
    assert found == (Change("label draws run", "0", "1"),)


def test_records_of_a_store_are_read_as_they_are(frame):
    """Words of a store are categories, and a fact that is not known is an empty one."""
    found = recorded(frame(*ROWS))
    words = found.runs.select_dtypes("object").columns
    first = side(found)
    second = side(type(found)(found.rows, found.runs.astype(dict.fromkeys(words, "category"))))
    assert find_changes((first, second)).others == ()


# -- which protocols belong together ---------------------------------------------------


def protocols(frame, *known):
    """Results with one method under each protocol: hash, budget, and more."""
    rows = []
    for protocol, budget, *more in known:
        changes = dict(*more)
        rows += study("scratch", patients=2, protocol=protocol, budget=budget, **changes)
    return results(frame(*rows))


def hashes(a, b):
    pairs, lonely = side_pairs(a, b, ())
    return [(ours.word("protocol"), theirs.word("protocol")) for ours, theirs in pairs], lonely


def test_equal_hashes_are_a_pair_before_equal_budgets(frame):
    a = protocols(frame, (HASH, "smoke"), (OTHER, "quick"))
    b = protocols(frame, (OTHER, "quick"), (HASH, "smoke"))
    pairs, lonely = hashes(a, b)
    assert (sorted(pairs), lonely) == ([(HASH, HASH), (OTHER, OTHER)], [])
    # Nor does a budget tell which of two protocols the third one came from.
    a, b = (protocols(frame, (HASH, "x"), (other, "x")) for other in (OTHER, THIRD))
    pairs, lonely = hashes(a, b)
    assert (pairs, len(lonely)) == ([(HASH, HASH)], 2)


def test_single_protocols_of_a_dataset_are_a_pair_whatever_their_budgets(frame):
    a, b = protocols(frame, (HASH, "smoke")), protocols(frame, (OTHER, "quick"))
    assert hashes(a, b) == ([(HASH, OTHER)], [])


def test_recipes_tell_protocols_of_one_budget_apart(frame):
    published = {"recipe": "published"}
    a = protocols(frame, (HASH, "smoke"), (OTHER, "smoke", published))
    b = protocols(frame, (THIRD, "smoke"), ("0" * 16, "smoke", published))
    pairs, lonely = hashes(a, b)
    assert (sorted(pairs), lonely) == ([(HASH, THIRD), (OTHER, "0" * 16)], [])


def test_what_could_belong_to_several_is_named_and_not_guessed(frame):
    a = protocols(frame, (HASH, "smoke"), (OTHER, "quick"), ("1" * 16, "quick"))
    b = protocols(frame, (HASH, "smoke"), (THIRD, "quick"), ("2" * 16, "x", {"dataset": "ct"}))
    pairs, lonely = hashes(a, b)
    assert pairs == [(HASH, HASH)]
    quick = "phantom, quick budget, protocol"
    assert lonely[0].endswith(f"of A: {quick} {'1' * 16}; {quick} {OTHER}.")
    assert lonely[1].endswith(f"of B: ct, x budget, protocol {'2' * 16}; {quick} {THIRD}.")
    assert HASH not in "".join(lonely)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([(HASH, "smoke")], [(HASH, "smoke", {"dataset": "ct\n"})]),
        ([(HASH, "smoke"), (OTHER, "quick")], [(THIRD, "long")]),
    ],
)
def test_nothing_to_compare_is_one_line_with_a_way_out(frame, ours, theirs):
    with pytest.raises(RequestError, match=r"no protocol of A .* name two") as refused:
        side_pairs(protocols(frame, *ours), protocols(frame, *theirs), ())
    assert "\n" not in str(refused.value)


def test_label_budgets_that_are_not_asked_for_do_not_count(frame):
    both = results(frame(*study("scratch"), *study("scratch", labels="20%", fraction=0.2)))
    ((ours, _),), _ = side_pairs(both, both, ["20%"])
    assert ours.labels == ["20%"]
    ((ours, _),), _ = side_pairs(both, both, ())
    assert ours.labels == ["10%", "20%"]
    with pytest.raises(RequestError, match="A holds no finished run"):
        side_pairs(both, both, ["40%"])


# -- what follows from other settings --------------------------------------------------

START = {
    **PROTOCOL,
    "budget": {**PROTOCOL["budget"], "pixels": 32, "width": 8},
    "backbone": {"width": 8, "levels": 5},
    "dataset_version": 1,
}


@pytest.fixture
def section(frame):
    """The changes and their section, for protocols that differ in the settings given."""

    def make(**values):
        protocol = changed(START, "hash", OTHER)
        for path, value in values.items():
            protocol = changed(protocol, path.replace("__", "."), value)
        first = side(recorded(frame(*study("scratch")), protocol=START))
        second = side(recorded(frame(*study("scratch", protocol=OTHER)), protocol=protocol))
        found = find_changes((first, second))
        return found, changes_section((first, second), found, ())

    return make


def names(changes):
    return [change.setting for change in changes]


def shown(section):
    """The settings below what the sides hold."""
    names = list(section.tables[0].data["Setting"])
    return names[names.index("runs of both") + 1 :]


def test_other_images_for_no_other_setting_may_be_other_volumes(section):
    found, what = section(data="d2")
    assert (names(found.protocol), found.following) == (["data"], ())
    assert any("prepared images are not the same:" in note for note in what.notes)


@pytest.mark.parametrize(
    ("path", "value", "setting"),
    [
        ("budget__pixels", 64, "budget.pixels"),
        ("recipe__clip_percentiles", [1, 99], "recipe.clip_percentiles"),
        ("dataset_version", 2, "dataset_version"),
    ],
)
def test_images_that_are_prepared_otherwise_say_nothing_of_the_volumes(
    section, path, value, setting
):
    found, what = section(**{path: value, "data": "d2"})
    assert (names(found.protocol), names(found.following)) == ([setting], ["data"])
    assert found.meaning == f"Of all that is recorded one thing differs: {setting}."
    assert what.verdict[0].startswith(f"1 setting of the protocol changed: {setting} (")
    (note,) = [note for note in what.notes if "prepared images" in note]
    assert f"prepared by other settings ({setting})" in note
    assert "is not known" in note
    assert shown(what) == sorted([setting, "data"])
    assert what.tables[0].notes == ("Not counted, as following from other settings: data.",)


def test_the_width_of_the_network_is_that_of_the_budget(section):
    found, what = section(budget__width=16, backbone__width=16)
    assert names(found.protocol) == ["budget.width"]
    assert names(found.following) == ["backbone.width"]
    assert shown(what) == ["backbone.width", "budget.width"]


def test_a_width_of_its_own_is_a_change(section):
    found, _ = section(budget__width=16, backbone__width=12)
    assert names(found.protocol) == ["backbone.width", "budget.width"]
    assert found.following == ()

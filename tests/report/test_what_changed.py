"""What is told of two sides; what follows from other settings is no change of its own."""

import pytest

from contrabench.report.what_changed import find_changes, what_changed

from .sides import PROTOCOL, changed, recorded, side, study

OTHER = "0" * 16
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
        found = find_changes(first, second)
        return found, what_changed(first, second, found, ())

    return make


def names(changes):
    return [change.setting for change in changes]


def shown(section):
    return list(section.tables[0].data["Setting"])


def test_other_images_for_no_other_setting_may_be_other_volumes(section):
    found, what = section(data="d2")
    assert (names(found.protocol), found.following) == (["data"], ())
    assert any("prepared images are not the same (setting data)" in note for note in what.notes)


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
    (note,) = [note for note in what.notes if "volumes" in note]
    assert f"prepared by other settings ({setting})" in note
    assert "is not recorded" in note
    assert "not the same" not in note
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

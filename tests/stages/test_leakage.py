"""What outside weights have seen is computed where a card of ours knows it, else as was told."""

import json

import pytest
from tests.makers.studies import make_run, make_spec

from contrabench.stages.leakage import CARD_FACTS, outside_of
from contrabench.stages.run import Run
from contrabench.use.export import export
from contrabench.use.trained import find_trained


@pytest.fixture(scope="module")
def exported(prepared, tmp_path_factory):
    """The encoder of a run of fold 0, and its record."""
    home = tmp_path_factory.mktemp("theirs")
    made = make_run(make_spec("scratch"), prepared[1], home / "store")
    export(find_trained(str(made.folder), home / "store"), "encoder", "safetensors", home / "out")
    return home / "out" / "model.safetensors", made.record


def asked(file, fold=0, **options):
    return make_spec("external", {"weights": str(file), **options}, fold=fold)


@pytest.mark.parametrize("declared", ["no", "yes", "unknown"])
@pytest.mark.parametrize("fold", [0, 1])
def test_the_card_knows_better_than_what_is_declared(prepared, exported, declared, fold):
    file, record = exported
    run = Run(asked(file, fold, seen=declared), prepared[1], None)
    overlap = {*record["patients"]["train"]} & {*run.split.test}
    assert bool(overlap) == (fold == 1)
    found, right = outside_of(run), "yes" if overlap else "no"
    assert found["seen"] == right
    assert len(found["told"]) == 1 + (declared not in (right, "unknown"))
    assert "2 patients of phantom" in found["source"]


def changed(file, folder, **facts):
    """A copy of weights with another card beside it."""
    folder.mkdir()
    (folder / file.name).write_bytes(file.read_bytes())
    card = json.loads((file.parent / CARD_FACTS).read_text())
    (folder / CARD_FACTS).write_text(json.dumps(card | facts))
    return folder / file.name


@pytest.mark.parametrize(
    "facts",
    [
        {"files": {"model.safetensors": "0" * 64}},  # the card of another file
        {"files": None},
        {"registered": "other", "datasets": ["other"]},
        {"trained_on": ["a"], "tested_on": ["b"]},  # no patient in common: another folder
        {"outside": {"source": "them"}},  # who knows what those had seen
    ],
)
@pytest.mark.parametrize("declared", ["no", "yes", "unknown"])
def test_what_no_card_knows_is_as_declared(prepared, exported, tmp_path, facts, declared):
    file = changed(exported[0], tmp_path / "their", **facts)
    found = outside_of(Run(asked(file, seen=declared), prepared[1], None))
    assert found["seen"] == declared
    assert len(found["told"]) == 1


def test_patients_of_a_pool_are_compared_as_well(prepared, exported, tmp_path):
    run = Run(asked(exported[0]), prepared[1], None)
    pooled = [f"phantom:{name}" for name in run.split.test]
    facts = {"registered": "other", "pool": "phantom", "trained_on": ["p1", *pooled]}
    file = changed(exported[0], tmp_path / "pooled", **facts)
    assert outside_of(Run(asked(file, seen="no"), prepared[1], None))["seen"] == "yes"


def test_the_record_and_the_key_hold_what_was_known(prepared, exported, tmp_path):
    file, _ = exported
    made = make_run(asked(file, seen="yes"), prepared[1], tmp_path / "one")
    assert made.record["outside"]["seen"] == "no"
    assert "'yes', and their card says 'no'" in made.record["marks"][1]
    lost = changed(file, tmp_path / "lost", files={})
    again = make_run(asked(lost, seen="yes"), prepared[1], tmp_path / "two")
    assert again.record["outside"]["seen"] == "yes"
    assert again.key != made.key
    assert again.record["stages"]["finetune"] == made.record["stages"]["finetune"]
    own = make_run(make_spec("scratch"), prepared[1], tmp_path / "one")
    assert own.record["outside"] == {}

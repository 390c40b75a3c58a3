"""What the plan counts, against a count over the runs themselves."""

import json
import re

import pytest
from tests.makers.studies import RUNTIME, TINY

from contrabench.contracts import registry
from contrabench.errors import RequestError
from contrabench.files import seal_folder
from contrabench.references import CONTROLS
from contrabench.stages.kind import kinds, nodes_of
from contrabench.stages.run import Run
from contrabench.store.failures import read_failure, write_failure
from contrabench.store.stages import home_of
from contrabench.study.graph import draw_graph, state_of
from contrabench.study.runs import runs_of
from contrabench.study.spec import make_study
from contrabench.testing import make_case

CASES = [make_case(number) for number in range(12)]
STUDIES = {
    "label-free": {"methods": ["simclr", "moco"]},
    "with labels": {"methods": ["hu", "supcon_pixel"], "labels": ["50%", "100%"]},
    "two stages": {"methods": ["mmgl", "mmgl[stages=global]", "mmgl[variant=U]"]},
    "deviations": {"methods": ["mmgl", "mmgl[deep_supervision=false]", "mmgl[views=axial]"]},
    "seeds": {"methods": ["simclr", "hu"], "seeds": 2, "draws": 1},
    "all labels": {"methods": ["simclr", "hu"], "labels": ["100%"], "draws": 3},
    "the same patients": {"methods": ["simclr", "hu"], "labels": ["12%", "13%", "50%"]},
    "nothing to pre-train": {"methods": ["scratch"]},
    "a family": {"methods": ["local contrast"], "folds": 2},
}


def specs(**changes):
    asked = {
        "methods": ["simclr"],
        "dataset": "phantom",
        "labels": ["25%", "50%"],
        "folds": 3,
        "draws": 2,
        "budget": TINY,
        "rates": ["uniform"],
        "without": list(CONTROLS),
        **changes,
    }
    return runs_of(make_study(asked, "the test"), RUNTIME.device, RUNTIME.precision)[0]


def brute_force(runs):
    """Pre-trainings as distinct descriptions in the words of the design, without any key."""
    distinct, asked, known = set(), 0, set()
    for spec in runs:
        made = Run(spec, CASES)
        options = json.dumps(spec.options, sort_keys=True)
        run = (spec.method, options, spec.deviations, spec.fold, spec.seeds.init)
        run = (*run, spec.labels, spec.draw)
        if run in known:
            continue
        known.add(run)
        seen = ()
        for stage in made.method.stages():
            if stage.labels or stage.labelled_slices_only:
                # Whoever comes after starts from what these patients have shaped.
                seen = made.manifest.patients
            views, seed = spec.deviations.views, spec.seeds.init
            distinct.add((spec.method, options, views, spec.fold, seed, stage.name, seen))
            asked += 1
    return len(distinct), asked, len(known)


@pytest.mark.parametrize("name", STUDIES)
def test_the_counts_are_those_of_a_brute_force_count(name):
    runs = specs(**STUDIES[name])
    graph = draw_graph(runs, CASES, None)
    assert (graph.pretrainings, graph.pretrainings_asked, len(graph.runs)) == brute_force(runs)
    assert len(graph.runs) == len(graph.of_kind("evaluate")) or name == "the same patients"


def test_the_brute_force_count_tells_sharing_from_none():
    shared, asked, _ = brute_force(specs(methods=["simclr"]))
    assert (shared, asked) == (3, 3 * 2 * 2)
    shared, asked, _ = brute_force(specs(methods=["hu"]))
    assert asked == 3 * 2 * 2 * len(registry.methods.get("hu")().stages())
    assert shared > 3


def test_a_stage_comes_after_its_inputs_and_every_input_is_there():
    graph = draw_graph(specs(methods=["mmgl", "hu", "simclr"]), CASES, None)
    seen = set()
    for key, stage in graph.stages.items():
        assert key == stage.key
        assert set(stage.node.inputs) <= seen
        seen.add(key)


def test_how_many_runs_rest_on_a_stage_is_counted_over_the_runs():
    runs = specs(methods=["mmgl", "simclr"], labels=["25%", "100%"])
    graph = draw_graph(runs, CASES, None)
    chains = {nodes[-1].key: {node.key for node in nodes} for nodes in nodes_by_run(runs)}
    for key, stage in graph.stages.items():
        assert stage.runs == sum(key in chain for chain in chains.values()) > 0
    assert set().union(*chains.values()) == set(graph.stages)


def nodes_by_run(runs):
    return [nodes_of(Run(spec, CASES)) for spec in runs]


def test_runs_of_the_same_patients_share_fine_tuning_and_differ_in_rows():
    # Eight training patients: one of them in both cases.
    graph = draw_graph(specs(labels=["12%", "13%"], draws=1, test_folds=[0]), CASES, None)
    simclr = [stage for stage in graph.runs if stage.variant == "simclr"]
    assert len(simclr) == 2
    assert simclr[0].node.inputs == simclr[1].node.inputs
    assert len(graph.of_kind("finetune")) == 3 + 1
    shared = graph.stages[simclr[0].node.inputs[-2]]
    assert (shared.node.kind, shared.runs) == ("finetune", 2)


def test_two_spellings_of_one_run_are_one():
    words = ["mmgl[variant=S]", "mmgl", "mmgl[ variant = S, stages=both ]"]
    once, thrice = (draw_graph(specs(methods=m), CASES, None) for m in (["mmgl"], words))
    assert list(once.stages) == list(thrice.stages)
    assert once.pretrainings_asked == thrice.pretrainings_asked


def test_titles_tell_the_stages_of_a_study_apart():
    both = ["uniform", "gentle"]
    runs = specs(methods=["mmgl", "hu"], seeds=2, rates=both, without=[])
    graph = draw_graph(runs, CASES, None)
    titles = [stage.title for stage in graph.stages.values()]
    assert len(set(titles)) == len(titles)
    assert "pre-train global of mmgl: fold 0" in titles
    assert "fine-tune hu: 25%, fold 0, gentle, draw 0" in titles
    assert "pre-train supervised of oracle: fold 0" in titles
    assert any(re.fullmatch(r"rows of hu: 25%, fold 1, draw 1, seed 1", text) for text in titles)
    label_free = [
        t for t in graph.stages.values() if t.node.name == "global" and t.variant == "mmgl"
    ]
    assert all("%" not in stage.title for stage in label_free)


def test_a_fold_that_the_patients_do_not_allow_is_refused():
    with pytest.raises(RequestError, match="over 13 folds needs 13"):
        draw_graph(specs(folds=13, test_folds=[0]), CASES, None)


@pytest.mark.parametrize("kind", kinds())
def test_the_state_of_a_stage_is_that_of_its_folder(tmp_path, kind):
    key = "0123456789abcdef"
    home = home_of(tmp_path, kind)
    assert state_of(tmp_path, kind, key) == "to do"
    (home / f"{key}.work").mkdir(parents=True)
    assert state_of(tmp_path, kind, key) == "to do"
    write_failure(home, key, "no luck")
    assert state_of(tmp_path, kind, key) == "failed"
    assert read_failure(home, key).reason == "no luck"
    (home / key).mkdir()
    assert state_of(tmp_path, kind, key) == "failed"
    seal_folder(home / key)
    assert state_of(tmp_path, kind, key) == "done"


def test_folds_that_train_with_the_same_labels_are_found():
    runs = specs(methods=["simclr"], labels=["1", "50%"], folds=4, draws=3)
    folds = {}
    for spec in runs:
        folds.setdefault(Run(spec, CASES).manifest.patients, set()).add(spec.fold)
    alike = {patients: sorted(of) for patients, of in folds.items() if len(of) > 1}
    # One labelled patient in each of twelve cells, drawn from twelve patients: some meet.
    assert alike
    assert draw_graph(runs, CASES, None).labelled_alike == alike
    assert not draw_graph(specs(test_folds=[0]), CASES, None).labelled_alike

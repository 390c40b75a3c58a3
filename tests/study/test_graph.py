"""What the plan counts, against a count over the runs themselves."""

import json
import re

import pytest
from tests.makers.studies import RUNTIME, TINY

from contrabench.contracts import registry
from contrabench.errors import RequestError
from contrabench.files import seal_folder
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.nodes import nodes_of
from contrabench.store.failures import write_failure
from contrabench.store.stages import home_of
from contrabench.study.expand import expand
from contrabench.study.graph import draw_graph, failure_of, state_of
from contrabench.study.resolve import resolve
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


def pairs_of(**changes):
    asked = {
        "methods": ["simclr"],
        "dataset": "phantom",
        "labels": ["25%", "50%"],
        "folds": 3,
        "draws": 2,
        "budget": TINY,
        **changes,
    }
    requests = expand(make_study(asked, "the test"), None).requests
    return [(request, resolve(request, RUNTIME)) for request in requests]


def brute_force(pairs):
    """Pre-trainings as distinct descriptions in the words of the design, without any key."""
    distinct, asked, runs = set(), 0, set()
    for _, plan in pairs:
        spec, blueprint = plan.spec, Blueprint(plan, CASES)
        options = json.dumps(plan.method.options.model_dump(mode="json"), sort_keys=True)
        run = (spec.method, options, spec.deviations, spec.fold, spec.seeds.init)
        run = (*run, spec.labels, spec.draw)
        if run in runs:
            continue
        runs.add(run)
        seen = ()
        for stage in plan.method.stages():
            if stage.labels or stage.labelled_slices_only:
                # Whoever comes after starts from what these patients have shaped.
                seen = blueprint.manifest.patients
            views, seed = spec.deviations.views, spec.seeds.init
            distinct.add((spec.method, options, views, spec.fold, seed, stage.name, seen))
            asked += 1
    return len(distinct), asked, len(runs)


@pytest.mark.parametrize("name", STUDIES)
def test_the_counts_are_those_of_a_brute_force_count(name):
    pairs = pairs_of(**STUDIES[name])
    graph = draw_graph(pairs, CASES)
    assert (graph.pretrainings, graph.pretrainings_asked, graph.runs) == brute_force(pairs)
    assert graph.count("runs") == graph.count("evaluate") or name == "the same patients"


def test_the_brute_force_count_tells_sharing_from_none():
    shared, asked, _ = brute_force(pairs_of(methods=["simclr"]))
    assert (shared, asked) == (3, 3 * 2 * 2)
    shared, asked, _ = brute_force(pairs_of(methods=["hu"]))
    assert asked == 3 * 2 * 2 * len(registry.methods.get("hu")().stages())
    assert shared > 3


def test_a_stage_comes_after_its_inputs_and_every_input_is_there():
    graph = draw_graph(pairs_of(methods=["mmgl", "hu", "simclr"]), CASES)
    seen = set()
    for key, task in graph.tasks.items():
        assert key == task.key
        assert set(task.node.inputs) <= seen
        seen.add(key)


def test_how_many_runs_rest_on_a_stage_is_counted_over_the_runs():
    pairs = pairs_of(methods=["mmgl", "simclr"], labels=["25%", "100%"])
    graph = draw_graph(pairs, CASES)
    chains = {nodes[-1].key: {node.key for node in nodes} for nodes in nodes_by_run(pairs)}
    for key, task in graph.tasks.items():
        assert task.runs == sum(key in chain for chain in chains.values()) > 0
    assert set().union(*chains.values()) == set(graph.tasks)


def nodes_by_run(pairs):
    return [nodes_of(Blueprint(plan, CASES)) for _, plan in pairs]


def test_runs_of_the_same_patients_share_fine_tuning_and_differ_in_rows():
    # Eight training patients: one of them in both cases.
    graph = draw_graph(pairs_of(labels=["12%", "13%"], draws=1, test_folds=[0]), CASES)
    runs = [task for task in graph.tasks.values() if task.node.kind == "runs"]
    simclr = [task for task in runs if task.variant == "simclr"]
    assert len(simclr) == 2
    assert simclr[0].node.inputs == simclr[1].node.inputs
    assert graph.count("finetune") == 3 + 1
    shared = graph.tasks[simclr[0].node.inputs[-2]]
    assert (shared.node.kind, shared.runs) == ("finetune", 2)


def test_two_spellings_of_one_run_are_one():
    words = ["mmgl[variant=S]", "mmgl", "mmgl[ variant = S, stages=both ]"]
    once, thrice = (draw_graph(pairs_of(methods=m), CASES) for m in (["mmgl"], words))
    assert list(once.tasks) == list(thrice.tasks)
    assert once.pretrainings_asked == thrice.pretrainings_asked


def test_titles_tell_the_stages_of_a_study_apart():
    graph = draw_graph(pairs_of(methods=["mmgl", "hu"], seeds=2), CASES)
    titles = [task.title for task in graph.tasks.values()]
    assert len(set(titles)) == len(titles)
    assert "pre-train global of mmgl: fold 0" in titles
    assert any(re.fullmatch(r"rows of hu: 25%, fold 1, draw 1, seed 1", text) for text in titles)
    label_free = [
        t for t in graph.tasks.values() if t.node.name == "global" and t.variant == "mmgl"
    ]
    assert all("%" not in task.title for task in label_free)


def test_a_fold_that_the_patients_do_not_allow_is_refused():
    with pytest.raises(RequestError, match="13 folds over 12"):
        draw_graph(pairs_of(folds=13, test_folds=[0]), CASES)


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "evaluate", "runs"])
def test_the_state_of_a_stage_is_that_of_its_folder(tmp_path, kind):
    key = "0123456789abcdef"
    home = home_of(tmp_path, kind)
    assert state_of(tmp_path, kind, key) == "to do"
    (home / f"{key}.work").mkdir(parents=True)
    assert state_of(tmp_path, kind, key) == "to do"
    write_failure(home, key, "no luck")
    assert state_of(tmp_path, kind, key) == "failed"
    assert failure_of(tmp_path, kind, key).reason == "no luck"
    (home / key).mkdir()
    assert state_of(tmp_path, kind, key) == "failed"
    seal_folder(home / key)
    assert state_of(tmp_path, kind, key) == "done"

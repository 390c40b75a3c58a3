"""What changes the key of a stage, and what does not."""

import importlib
import os
import shutil
import sys

import nibabel as nib
import numpy as np
import pytest
from tests.makers.studies import RUNTIME, TINY, make_spec, prepared_cases, specs_of

from contrabench import plugins
from contrabench.contracts import discovery, registry
from contrabench.progress import Silent
from contrabench.stages import evaluate as evaluate_module
from contrabench.stages import run as run_module
from contrabench.stages.kind import nodes_of
from contrabench.stages.run import Run
from contrabench.study.graph import draw_graph
from contrabench.study.runs import runs_of
from contrabench.study.session import plan_study
from contrabench.study.spec import make_study, read_study
from contrabench.testing import make_case
from contrabench.training.runtime import Runtime

STAGES = ("free", "labelled", "finetune", "evaluate", "runs")
"""MMGL's pre-training without labels and with them, and what follows."""
ALL = set(STAGES)
TUNED = {"finetune", "evaluate", "runs"}
SCORED = {"evaluate", "runs"}
ASKED = {"methods": ["mmgl"], "labels": ["50%"], "budget": TINY, "folds": 3}


def drawn(cases=None, **asked):
    """The run of what is asked for otherwise than in `ASKED`."""
    (spec,) = specs_of(**{**ASKED, **asked})
    return Run(spec, CASES if cases is None else cases)


def keys(asked=None, spec=None, cases=None, recipe=None):
    """The keys of a run's stages by name.

    Args:
        asked: for otherwise than in `ASKED`.
        spec: fields of the run that are asked for in no words, or budget fields by path.
        cases: prepared ones; twelve patients by default.
        recipe: fields of the data recipe.
    """
    run = drawn(cases, **(asked or {}))
    if spec:
        run = Run(run.spec.model_copy(update=spec), run.cases)
    if recipe:
        run.dataset.recipe = run.dataset.recipe.model_copy(update=recipe)
    nodes = nodes_of(run)
    assert len(nodes) == len(STAGES)
    return {name: node.key for name, node in zip(STAGES, nodes, strict=True)}


CASES = [make_case(number) for number in range(12)]


def changed(**otherwise):
    before, after = keys(), keys(**otherwise)
    return {name for name in STAGES if before[name] != after[name]}


def phase(which, **values):
    """TINY with a phase changed."""
    part = getattr(TINY, which).model_copy(update=values)
    return {"budget": TINY.model_copy(update={which: part})}


DRAWN = drawn()
LABELLED = set(DRAWN.manifest.patients)
UNLABELLED = [patient for patient in DRAWN.split.train if patient not in LABELLED]


def touched(patient):
    """The cases with one patient's volume changed."""
    cases = list(CASES)
    place = next(i for i, case in enumerate(cases) if case.patient == patient)
    cases[place] = make_case(place)
    object.__setattr__(cases[place], "fingerprint", "f" * 32)
    return cases


def seeds(**values):
    return {"seeds": DRAWN.spec.seeds.model_copy(update=values)}


PHASES = {
    "batch": 8,
    "lr": 2e-3,
    "optimizer": "sgd",
    "momentum": 0.5,
    "weight_decay": 1e-3,
    "schedule": "constant",
    "warmup": 0.2,
    "clip": 1.0,
    "accumulate": 2,
    "images": 16 * 30,
}


@pytest.mark.parametrize(("name", "value"), PHASES.items())
def test_the_optimisation_of_pre_training_changes_everything(name, value):
    assert changed(spec=phase("pretrain", **{name: value})) == ALL


@pytest.mark.parametrize(("name", "value"), PHASES.items())
def test_the_optimisation_of_fine_tuning_changes_what_comes_after(name, value):
    assert changed(spec=phase("finetune", **{name: value})) == TUNED


def test_every_field_of_a_phase_is_looked_at_here():
    assert set(PHASES) == set(type(TINY.pretrain).model_fields)


@pytest.mark.parametrize("which", ["pretrain", "finetune"])
def test_images_that_make_no_further_step_change_no_training(which):
    images = getattr(TINY, which).images + 1
    assert changed(spec=phase(which, images=images)) == {"runs"}


@pytest.mark.parametrize(("field", "value"), [("pixels", 48), ("width", 8)])
def test_the_size_of_slices_and_network_changes_everything(field, value):
    assert changed(spec={"budget": TINY.model_copy(update={field: value})}) == ALL


def test_the_name_of_a_budget_stands_in_the_rows_alone():
    assert changed(spec={"budget": TINY.model_copy(update={"name": "mine"})}) == {"runs"}


@pytest.mark.parametrize(
    "option", ["temperature_global=0.4", "temperature_local=0.2", "linear_heads=true", "grid=8"]
)
def test_an_option_of_the_method_changes_everything(option):
    assert changed(asked={"methods": [f"mmgl[{option}]"]}) == ALL


def test_the_method_s_version_changes_everything(monkeypatch):
    before = keys()
    method = registry.methods.get("mmgl")
    monkeypatch.setattr(method, "info", method.info.model_copy(update={"version": 99}))
    after = keys()
    assert {name for name in STAGES if before[name] != after[name]} == ALL


def test_a_method_has_keys_of_its_own_except_where_there_is_no_pre_training():
    def nodes(name):
        return {node.kind: node.key for node in nodes_of(drawn(methods=[name]))}

    first, second = nodes("simclr"), nodes("moco")
    assert not set(first.values()) & set(second.values())
    floor = nodes("scratch")
    assert "pretrain" not in floor
    assert not set(first.values()) & set(floor.values())


@pytest.mark.parametrize("purpose", ["init", "views", "order"])
def test_a_seed_of_training_changes_everything(purpose):
    assert changed(spec=seeds(**{purpose: 1})) == ALL


def test_the_seed_of_the_split_changes_everything_and_that_of_labels_what_sees_them():
    assert changed(spec=seeds(split=5)) == ALL
    assert changed(spec=seeds(labels=5)) == {"labelled", *TUNED}


def test_orientations_change_everything_and_deep_supervision_only_fine_tuning():
    assert changed(asked={"views": "axial"}) == ALL
    assert changed(asked={"deep_supervision": False}) == TUNED


@pytest.fixture
def mine(monkeypatch):
    """A loss of one's own, and a metric."""
    for kind in (registry.losses, registry.metrics):
        kind.names()
        monkeypatch.setattr(kind, "_registered", dict(kind._registered))

    @registry.register_loss("mine")
    class Mine(registry.losses.get("dice_ce")):
        """The common one by another name."""

    @registry.register_metric("mine")
    class Own(registry.metrics.get("volume_error")):
        """The built-in one by another name."""


def test_another_loss_changes_fine_tuning_and_the_common_one_by_name_nothing(mine):
    assert changed(asked={"loss": "mine"}) == TUNED
    assert changed(asked={"methods": ["mmgl[loss=mine]"]}) == TUNED
    assert changed(asked={"loss": "dice_ce"}) == set()


def test_a_metric_of_one_s_own_changes_scores_and_rows_alone(mine):
    assert changed(asked={"metrics": ["mine"]}) == SCORED
    assert changed(asked={"metrics": ["volume_error"]}) == SCORED


def test_fold_precision_and_recipe_change_everything():
    assert changed(asked={"test_folds": [1]}) == ALL
    assert changed(spec={"precision": "bf16"}) == ALL
    assert changed(recipe={"field_of_view_mm": 200.0}) == ALL
    assert changed(recipe={"clip_percentiles": (1.0, 99.0)}) == ALL


@pytest.mark.parametrize("what", [{"labels": ["25%"]}, {"draws": [1]}])
def test_labels_and_draw_leave_label_free_pre_training_alone(what):
    assert changed(asked=what) == {"labelled", *TUNED}


def test_two_fractions_of_the_same_patients_differ_in_their_rows_alone():
    # 8 training patients: 48 % and 50 % are four of them.
    assert changed(asked={"labels": ["48%"]}) == {"runs"}


def test_the_paper_s_recipe_changes_the_pre_training_that_it_changes():
    def nodes(recipe):
        return [node.key for node in nodes_of(drawn(methods=["simclr"], recipe=recipe))]

    assert not set(nodes("common")) & set(nodes("published"))


def test_another_protocol_version_changes_everything(monkeypatch):
    before = keys()
    for module in (run_module, evaluate_module):
        monkeypatch.setattr(module, "PROTOCOL_VERSION", 999)
    assert not set(before.values()) & set(keys().values())


def test_another_metric_contract_changes_scores_and_rows_alone(monkeypatch):
    before = keys()
    for module in (run_module, evaluate_module):
        monkeypatch.setattr(module, "METRIC_CONTRACT", 999)
    after = keys()
    assert {name for name in STAGES if before[name] != after[name]} == SCORED


def test_a_changed_volume_changes_what_reads_it():
    assert changed(cases=touched(DRAWN.split.test[0])) == SCORED
    assert changed(cases=touched(UNLABELLED[0])) == {"free", "labelled", *TUNED}
    assert changed(cases=touched(min(LABELLED))) == ALL


def test_a_changed_unlabelled_volume_leaves_what_does_not_see_it():
    """Fine-tuning from scratch reads the labelled patients alone."""

    def nodes(cases):
        run = drawn(cases, methods=["scratch"])
        return {node.kind: node.key for node in nodes_of(run)}

    before, after = nodes(CASES), nodes(touched(UNLABELLED[0]))
    assert {kind for kind in before if before[kind] != after[kind]} == {"runs"}


def test_options_of_the_dataset_change_its_data_and_so_everything(tmp_path):
    def keys_with(**options):
        spec = make_spec("mmgl", dataset_options=options)
        return {node.key for node in nodes_of(Run(spec, prepared_cases(spec, tmp_path)))}

    assert keys_with() == keys_with(seed=0)
    assert not keys_with() & keys_with(seed=1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("temperature_global=0.4, grid=8", "grid=8, temperature_global=0.4"),
        ("temperature_global=0.4", "temperature-global=4e-1"),
        ("global_taps=[pool3, pool4]", 'global_taps=["pool3","pool4"]'),
        ("", "temperature_global=0.5"),
    ],
)
def test_how_options_are_written_changes_nothing(one, other):
    first, second = (keys(asked={"methods": [f"mmgl[{words}]"]}) for words in (one, other))
    assert first == second


def test_how_a_fraction_is_written_changes_nothing():
    assert keys(asked={"labels": ["0.5"]}) == keys()
    assert keys(asked={"labels": ["50.0%"]}) == keys()


def test_the_order_of_cases_changes_nothing():
    assert keys(cases=CASES[::-1]) == keys()


STUDY = """
methods = ["mmgl[stages=global, temperature_global=0.3]", "simclr"]
dataset = "phantom"
labels = ["50%"]
folds = 2
draws = 1
[budget]
name = "tiny"
pixels = 32
width = 4
[budget.pretrain]
images = 384
batch = 16
lr = 1e-3
[budget.finetune]
images = 384
batch = 16
lr = 3e-3
[dataset_options]
patients = 4
seed = 0
"""
TURNED = """
# Another order, and comments.
labels = ["0.5"]
draws = 1   # one is enough
dataset = "phantom"
methods = ["simclr", "mmgl[temperature_global=0.3, stages=global]"]
folds = 2
dataset_options = { seed = 0, patients = 4 }
[budget]
width = 4
pixels = 32
name = "tiny"
finetune = { lr = 0.003, batch = 16, images = 384 }
pretrain = { lr = 0.001, batch = 16, images = 384 }
"""


def graph_keys(spec, store, root=None, runtime=RUNTIME):
    return set(plan_study(spec, root, store, runtime, Silent()).graph.stages)


def test_order_comments_store_and_threads_of_a_study_change_nothing(tmp_path):
    found = []
    for number, text in enumerate((STUDY, TURNED)):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        runtime = Runtime(device="cpu", precision="float32", threads=1 + number)
        found.append(graph_keys(read_study(file), tmp_path / f"store{number}", runtime=runtime))
    assert found[0] == found[1]


def test_what_else_a_study_holds_changes_no_stage():
    def graph(**changes):
        asked = {
            "methods": ["simclr"],
            "dataset": "phantom",
            "labels": ["50%"],
            "folds": 3,
            "draws": 1,
            "budget": TINY,
            **changes,
        }
        specs, _ = runs_of(make_study(asked, "the test"), RUNTIME.device, RUNTIME.precision)
        return set(draw_graph(specs, CASES, None).stages)

    small = graph()
    assert small < graph(methods=["mmgl", "simclr"])
    assert small < graph(labels=["25%", "50%", "75%"])
    assert small < graph(draws=3)
    assert small < graph(seeds=2)
    assert graph(test_folds=[1]) < small
    assert graph(without=["scratch"]) < small
    assert graph(methods=["mmgl", "simclr"]) == graph(methods=["simclr", "mmgl"])


METHOD = '''
"""A method."""

from contrabench import Method, MethodInfo, Stage, register_method


@register_method("passing_guest")
class Guest(Method):
    """It computes nothing."""

    info = MethodInfo(title="Guest", family="guests", paper="none", fidelity="official")

    def stages(self):
        # One stage.
        return (Stage(name="global"),)

    def objective(self, stage, backbone):
        """Nothing."""
        return 1 + 1
'''
DATASET = '''
"""Balls in files."""

import numpy as np

from contrabench import Case, DatasetInfo, NiftiDataset, Structure, register_dataset


@register_dataset("balls")
class Balls(NiftiDataset):
    """Balls."""

    info = DatasetInfo(title="Balls", modality="none", source="none", terms="free", layout="files")
    structures = (Structure(name="core", value=1), Structure(name="shell", value=2))

    def cases(self):
        """All files."""
        images = sorted(self.folder().glob("*_image.nii.gz"))
        return [
            Case(p.name[:7], p.name[:7], p, p.with_name(p.name.replace("image", "label")))
            for p in images
        ]
'''


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Puts a plug-in file in a folder of its own in the place of the one before."""
    registry.methods.entries()
    registry.datasets.entries()
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))
    for kind in (registry.methods, registry.datasets):
        for name in ("_registered", "_collisions", "_failed"):
            monkeypatch.setattr(kind, name, dict(getattr(kind, name)))
    home = list(plugins.__path__)

    def forget():
        for name in [name for name in sys.modules if name.startswith(f"{discovery.PACKAGE}.")]:
            del sys.modules[name]
            vars(plugins).pop(name.rpartition(".")[2], None)

    def load(name, source, folder):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(source)
        forget()
        plugins.__path__[:] = home
        importlib.invalidate_caches()
        monkeypatch.setenv(discovery.VARIABLE, str(tmp_path / folder / f"{name}.py"))

    yield load
    forget()


def test_code_of_a_plug_in_counts_and_text_about_it_does_not(plug_in):
    def loaded(source, folder):
        plug_in("guest", source, folder)
        return [node.key for node in nodes_of(drawn(methods=["passing_guest"]))]

    before = loaded(METHOD, "first")
    told = METHOD.replace("# One stage.", "# The one.").replace('"""Nothing."""', '"""None."""')
    assert told != METHOD
    assert loaded(told.replace('"""A method."""', ""), "second") == before
    after = loaded(METHOD.replace("1 + 1", "1 + 2"), "third")
    assert not set(before) & set(after)


def write_balls(root):
    root.mkdir()
    for number in range(4):
        case = make_case(number, variety=1.0)
        affine = np.diag([7.0, 7.0, 8.0, 1.0])
        for name, array in (("image", case.image), ("label", case.label)):
            image = nib.Nifti1Image(array, affine)
            nib.save(image, root / f"ball_{number:02d}_{name}.nii.gz")


def test_the_folder_of_the_data_does_not_count_but_its_content_does(plug_in, tmp_path):
    plug_in("balls_plugin", DATASET, "plugin")
    asked = {
        "methods": ["simclr"],
        "dataset": "balls",
        "labels": ["50%"],
        "folds": 2,
        "draws": 1,
        "budget": TINY,
    }
    spec = make_study(asked, "the test")
    write_balls(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    for path in (tmp_path / "there").iterdir():
        os.utime(path, (1, 1))
    first = graph_keys(spec, tmp_path / "store", tmp_path / "here")
    assert graph_keys(spec, tmp_path / "other", tmp_path / "there") == first
    changed = make_case(0, variety=1.0).image
    changed[0, 0, 0] += 5
    target = tmp_path / "there" / "ball_00_image.nii.gz"
    nib.save(nib.Nifti1Image(changed, np.diag([7.0, 7.0, 8.0, 1.0])), target)
    assert graph_keys(spec, tmp_path / "other", tmp_path / "there") != first

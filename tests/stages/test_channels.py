"""A run on images of two channels, from the files to the rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tests.makers.studies import RUNTIME, TINY, make_run, make_spec
from tests.makers.volumes import Folder

from contrabench.contracts import registry
from contrabench.contracts.views import IGNORE
from contrabench.inspection.pretrained import PRETRAINED, read_pretrained, training_bank
from contrabench.progress import Silent
from contrabench.stages.kind import nodes_of
from contrabench.stages.prepare import prepare
from contrabench.stages.run import Run
from contrabench.store.rows import ROWS_FILE
from contrabench.store.stages import home_of
from contrabench.testing import make_case

SHAPE = (24, 20, 6)
OPTIONS = {"structures": "core=1,shell=2", "field_of_view_mm": 56.0}


def spec_of():
    options = registry.datasets.get("nifti").Options(**OPTIONS).model_dump(mode="json")
    tuning = TINY.finetune.model_copy(update={"images": 16 * 96, "lr": 2e-2})
    budget = TINY.model_copy(update={"finetune": tuning})
    return make_spec("masked", labels="100%", budget=budget).model_copy(
        update={"dataset": "nifti", "dataset_options": options}
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four patients whose first channel shows nothing but noise."""
    folder = Folder(tmp_path_factory.mktemp("volumes"))
    store = tmp_path_factory.mktemp("store")
    for number in range(4):
        image, _ = folder.add(f"p{number}", number, SHAPE)
        label = folder.root / "labels" / f"p{number}.nii.gz"
        (folder.root / "labelsTr").mkdir(exist_ok=True)
        label.rename(folder.root / "labelsTr" / label.name)
        noise = np.random.default_rng(number + 50).normal(0, 10, SHAPE).astype(np.float32)
        for channel, values in enumerate((noise, image)):
            folder.write("imagesTr", f"p{number}_{channel:04d}", values)
    for file in (folder.root / "images").iterdir():
        file.unlink()
    (folder.root / "images").rmdir()
    spec = spec_of()
    dataset = spec.open_dataset(folder.root)
    cases = prepare(dataset, "nifti", 32, store, Silent())
    return folder.root, store, cases, make_run(spec, cases, store, root=folder.root)


def test_the_second_channel_is_what_is_learned_from(made):
    *_, run = made
    rows = pd.read_parquet(run.folder / ROWS_FILE)
    assert set(rows["structure"]) == {"core", "shell"}
    # Of noise alone it is at most 0.51, for bodies that lie in one place.
    assert rows.groupby("structure")["dice"].mean().max() > 0.7


def test_the_network_takes_both_and_the_protocol_says_so(made):
    _, store, _, run = made
    assert run.record["protocol"]["backbone"]["in_channels"] == 2
    (key,) = run.record["stages"]["pretrain"]
    weights = load_file(home_of(store, "pretrain") / key / "weights.safetensors")
    shapes = {tuple(w.shape) for name, w in weights.items() if name.startswith("enc1.conv1")}
    assert shapes == {(4, 2, 3, 3)}


def test_the_pre_training_can_be_inspected(made):
    root, *_, run = made
    pretrained = read_pretrained(run.folder)
    bank = training_bank(pretrained, root, Silent())
    assert bank.images.shape[1:] == (2, 32, 32)
    network = pretrained.networks()[PRETRAINED]
    assert network.in_channels == 2
    maps = network.features(bank.images[:2], (network.deepest,))
    assert torch.isfinite(maps[network.deepest]).all()
    assert (bank.masks != IGNORE).any()


def test_what_it_costs_is_measured_on_two_channels(made):
    root, _, cases, _ = made
    run = Run(spec_of(), cases, root)
    for node in nodes_of(run):
        if node.kind in ("pretrain", "finetune"):
            assert node.of_kind.seconds_per_unit(run, node, RUNTIME) > 0


def test_synthetic_channels_show_one_body():
    case, two = make_case(3, variety=1.0), make_case(3, variety=1.0, channels=2)
    assert two.image.shape == (2, *case.image.shape)
    assert two.image.dtype == np.float32
    np.testing.assert_array_equal(two.image[0], case.image)
    np.testing.assert_array_equal(two.label, case.label)
    assert not np.array_equal(*two.image)

"""What the commands do, in Python: the same results, and names that are always callable."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

import contrabench as cb
from contrabench.contracts.registry import datasets
from contrabench.errors import RequestError
from contrabench.statistics.aggregate import macro_mean
from contrabench.store.results import read_rows

SMALL = {
    "dataset_option": ["patients=4"],
    "folds": 2,
    "budget": "smoke",
    "threads": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def done(store):
    return cb.run("scratch", labels="50%", store=store, **SMALL)


def test_a_run_gives_its_rows(done, store, capsys):
    (key,) = done.runs
    rows, _ = read_rows(store)
    assert set(rows["run"]) == {key}
    assert len(done.rows) == len(rows) > 0
    assert done.dice.loc["scratch", "50%"] == pytest.approx(macro_mean(rows, "dice"))
    assert capsys.readouterr().out == ""
    assert cb.run("scratch", labels="50%", store=str(store), **SMALL).runs == done.runs


def test_a_report_is_a_frame_and_sentences(done, store):
    answer = cb.report(store)
    assert list(answer.leaderboard["Method"]) == ["scratch"]
    assert answer.verdict
    assert len(cb.rows(store)) == len(done.rows)


def test_a_loaded_network_predicts_as_the_run_did(done, store, tmp_path):
    network = cb.load(done.runs[0][:6], store)
    shares = network(torch.zeros(1, 1, 32, 32))
    assert shares.shape[1] == 1 + len(network.trained.structures)
    assert float(shares.sum()) == pytest.approx(32 * 32, rel=1e-4)
    kind = datasets.get("phantom")
    case, *_ = (data := kind(None, kind.Options(patients=4))).cases()
    volume = data.load(case)
    nib.save(nib.Nifti1Image(volume.image, volume.affine), tmp_path / "scan.nii.gz")
    mask = network.predict(tmp_path / "scan.nii.gz", shares=True)
    assert mask.values.shape == volume.image.shape
    np.testing.assert_allclose(mask.affine, volume.affine)
    values = np.array([0, *(one.value for one in network.trained.structures)])
    np.testing.assert_array_equal(values[mask.shares.argmax(-1)], mask.values)


def test_a_plan_lists_the_stages(store):
    planned = cb.plan("simclr", labels="50%", store=store, **SMALL)
    assert {"pretrain", "finetune", "evaluate", "runs"} <= set(planned["kind"])


def test_what_cannot_be_done_is_an_error_of_the_program(store):
    with pytest.raises(RequestError):
        cb.run("no_such_method", store=store, **SMALL)


def test_the_store_of_this_folder_is_read_as_it_is_written(done, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONTRABENCH_STORE", str(store))
    (key,) = done.runs
    assert set(cb.rows()["run"]) == {key}
    assert list(cb.report().leaderboard["Method"]) == ["scratch"]
    assert cb.run("scratch", labels="50%", **SMALL).store == store
    monkeypatch.delenv("CONTRABENCH_STORE")
    (tmp_path / "contrabench.toml").write_text(f'store = "{store}"')
    assert set(cb.rows()["run"]) == {key}
    assert cb.load(key).trained.structures
    with pytest.raises(RequestError, match="there is no folder or file"):
        cb.report(tmp_path / "nope")


def test_numbers_are_taken_where_the_command_line_takes_words(store):
    planned = cb.plan(["simclr"], labels=1, fold=0, store=store, **SMALL)
    assert planned["title"].str.contains("1 patient, fold 0").any()
    assert not planned["title"].str.contains("fold 1").any()
    both = cb.plan(["simclr"], labels=[1, "50%"], fold=0, store=store, **SMALL)
    assert len(both) > len(planned)


def test_an_argument_that_there_is_not_is_told_with_the_one_that_was_meant(store):
    with pytest.raises(RequestError, match="there is no argument 'label'; did you mean 'labels'"):
        cb.study(["simclr"], label="2", store=store)


@pytest.mark.parametrize("first", ["contrabench.report.build", "contrabench.study.spec"])
def test_names_are_callable_whatever_was_imported_before(first):
    code = f"import contrabench, {first}; assert callable(contrabench.{first.split('.')[1]})"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_it_loads_nothing_heavy():
    code = "import sys, contrabench; assert not {'torch', 'pandas', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""Volumes without labels beside the dataset's own: whose they are, and no test heart."""

import json

import numpy as np
import pytest
from tests.makers.studies import RUNTIME, TINY
from tests.makers.volumes import Folder

from contrabench.cli.app import main
from contrabench.cli.asked import RunArguments
from contrabench.contracts.executor import Crew
from contrabench.errors import DataError, RequestError
from contrabench.files import read_json
from contrabench.progress import Silent
from contrabench.protocol import digest
from contrabench.references import LEFT_OUT
from contrabench.store.runs import RUN_RECORD
from contrabench.study.executors.in_process import InProcessExecutor
from contrabench.study.session import plan_study
from contrabench.study.spec import make_study

OPTIONS = {"structures": "core=1,shell=2", "field_of_view_mm": 56.0}
ASKED = {
    "methods": ["simclr"],
    "labels": ["50%"],
    "folds": 2,
    "test_folds": [0],
    "draws": 1,
    "without": list(LEFT_OUT),
    "rates": ["uniform"],
    "budget": TINY,
    "dataset": "nifti",
    "dataset_options": OPTIONS,
}


@pytest.fixture
def own(volumes):
    """Four labelled patients, and one more image."""
    for number in range(4):
        volumes.add(f"p{number}", seed=number)
    volumes.write("unlabelled", "more", volumes.add("x", seed=9)[0])
    for kind in ("images", "labels"):
        (volumes.root / kind / "x.nii.gz").unlink()
    return volumes


@pytest.fixture
def other(tmp_path):
    """Another folder: images of two strangers, one of them labelled, and of one p1."""
    folder = Folder(tmp_path / "other")
    for name, seed in (("s0", 20), ("s1", 21), ("p1", 22)):
        folder.add(name, seed=seed)
        (folder.root / "labels" / f"{name}.nii.gz").unlink()
    folder.add("s0", seed=20)
    return folder


def plan(own, store, pool_root=None, **asked):
    spec = make_study({**ASKED, **asked}, "the test")
    return plan_study(spec, own.root, store, RUNTIME, Silent(), pool_root)


def cases_of(session):
    return {case.case: (case.patient, case.labelled, case.pool) for case in session.cases}


def test_images_of_another_folder_are_trained_on_and_never_tested(own, other, tmp_path):
    session = plan(own, tmp_path, other.root, pool="nifti")
    assert cases_of(session) == {
        **{f"p{n}": (f"p{n}", True, "") for n in range(4)},
        "more": ("more", False, ""),
        "nifti:s0": ("s0", False, "nifti"),
        "nifti:s1": ("s1", False, "nifti"),
        "nifti:p1": ("p1", False, "nifti"),
    }
    for fold in (0, 1):
        folded = plan(own, tmp_path, other.root, pool="nifti", test_folds=[fold])
        run = folded.run_of(folded.graph.runs[0])
        drawn = {case.case for case in run.drawn("any")}
        # p1 of the other folder is p1 of this one: out where that one is tested.
        assert ("nifti:p1" in drawn) == ("p1" not in run.split.test)
        assert {"more", "nifti:s0", "nifti:s1"} < drawn
        assert all(case.pool == "" and case.labelled for case in run.test_cases())
        assert {case.case for case in run.drawn("labelled")} == set(run.manifest.patients)


def test_patients_of_another_dataset_have_its_name(own, tmp_path):
    session = plan(own, tmp_path, pool="phantom", pool_options={"patients": 2})
    names = {name: kept for name, kept in cases_of(session).items() if kept[2]}
    assert names == {
        f"phantom:{patient}": (f"phantom:{patient}", False, "phantom")
        for patient in ("phantom_001", "phantom_002")
    }


def test_the_pool_is_another_protocol_with_the_same_data(own, other, tmp_path):
    sessions = [
        plan(own, tmp_path),
        plan(own, tmp_path, other.root, pool="nifti"),
        plan(own, tmp_path, pool="phantom", pool_options={"patients": 2}),
    ]
    protocols = [session.run_of(session.graph.runs[0]).protocol for session in sessions]
    assert len({digest(protocol) for protocol in protocols}) == 3
    assert len({protocol.data for protocol in protocols}) == 1
    assert [protocol.pool for protocol in protocols] == ["", "nifti", "phantom"]
    other.write("images", "s1", other.add("s3", seed=30)[0])
    changed = plan(own, tmp_path, other.root, pool="nifti")
    assert changed.run_of(changed.graph.runs[0]).protocol.pool_data != protocols[1].pool_data


def test_a_run_with_a_pool_keeps_the_evidence(own, other, tmp_path):
    session = plan(own, tmp_path, other.root, pool="nifti")
    board, crew = session.survey(), InProcessExecutor(Crew(1, 1, 1, "cpu", tmp_path / "log"))
    assert session.run(board, crew) == ""
    record = read_json(tmp_path / "runs" / session.graph.runs[0].key / RUN_RECORD)
    assert record["spec"]["pool"] == record["protocol"]["pool"] == "nifti"
    assert record["volumes"] == {"labelled": 4, "unlabelled": 4, "of_the_pool": 3}
    assert str(other.root) not in json.dumps(record)
    (lines,) = (rule["evidence"] for rule in record["audit"] if rule["rule"] == 1)
    trained = 2 + 3 + ("p1" not in record["patients"]["test"])
    assert f"{trained} training volumes, {trained - 2} of them without labels: none" in lines[1]


def test_a_test_heart_in_disguise_is_one_line(own, other, tmp_path):
    image, _ = own.add("p3", seed=3)
    noise = np.random.default_rng(0).normal(0, 10, image.shape)
    other.write("images", "s1", (image[::-1] + noise).astype(np.float32))
    with pytest.raises(DataError) as caught:
        plan(own, tmp_path, other.root, pool="nifti")
    (fault,) = caught.value.faults
    assert fault.startswith("p3 (patient p3) and nifti:s1 (patient s1): show the same heart")


def test_the_dataset_itself_is_no_pool(own, tmp_path):
    with pytest.raises(RequestError, match="the pool 'nifti' holds no image that 'nifti' has not"):
        plan(own, tmp_path, own.root, pool="nifti")


def test_a_pool_of_the_same_dataset_has_its_options_unless_told_otherwise(own, other, tmp_path):
    pattern = {"patient_pattern": "([sp]).*"}
    session = plan(own, tmp_path, other.root, pool="nifti", pool_options=pattern)
    spec = session.graph.runs[0].spec
    assert spec.pool_options == {**spec.dataset_options, **pattern}
    assert {case.patient for case in session.cases if case.pool} == {"s", "p"}


def test_a_pool_whose_folder_is_not_named(own, tmp_path):
    with pytest.raises(RequestError, match=r"'acdc' needs its files: --pool acdc:FOLDER, with"):
        plan(own, tmp_path, pool="acdc")


def test_a_dataset_without_a_label_is_refused_and_is_a_pool(own, other, tmp_path):
    for path in (other.root / "labels").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no image has a label, so nothing could be tested"):
        plan(other, tmp_path)
    assert len(plan(own, tmp_path, other.root, pool="nifti").cases) == 8


@pytest.mark.parametrize("pool", ["nifti:/data", "mmwhs[modality=mr]"])
def test_a_study_names_a_pool_and_no_more(pool):
    with pytest.raises(RequestError, match="is no name of a dataset"):
        make_study({**ASKED, "pool": pool}, "the test")


def asked(tmp_path, **words):
    return RunArguments(method="simclr", labels="50%", config=tmp_path / "bench.toml", **words)


def test_the_command_line_names_a_pool_with_options_and_a_folder(tmp_path):
    (tmp_path / "bench.toml").write_text('[data]\nacdc = "hearts"\n')
    full = asked(tmp_path, dataset="nifti", data=tmp_path, pool="mmwhs[modality=mr]:/some/place")
    assert (full.spec().pool, full.spec().pool_options) == ("mmwhs", {"modality": "mr"})
    assert [str(root) for root in full.roots()] == [str(tmp_path), "/some/place"]
    configured = asked(tmp_path, dataset="nifti", data=tmp_path, pool="acdc")
    assert configured.roots() == (tmp_path, tmp_path / "hearts")
    same = asked(tmp_path, dataset="mmwhs", data=tmp_path, pool="mmwhs[modality=mr]")
    assert same.roots() == (tmp_path, tmp_path)
    assert asked(tmp_path, dataset="nifti", data=tmp_path).roots() == (tmp_path, None)
    with pytest.raises(RequestError, match=r"--pool 'mmwhs\[x' is not understood"):
        asked(tmp_path, pool="mmwhs[x").spec()


def test_the_first_line_counts_the_volumes_without_labels(own, other, tmp_path, capsys):
    store = ["--store", str(tmp_path / "store"), "--device", "cpu", "--threads", "1"]
    words = ["plan", "--methods", "simclr", "--folds", "2", "--budget", "smoke", "--no-measure"]
    data = ["--dataset", "nifti", "--data", str(own.root), "-d", "field_of_view_mm=56"]
    with pytest.raises(SystemExit) as ended:
        main([*words, *data, *store, "--pool", f"nifti:{other.root}", "--json"])
    assert not ended.value.code
    out, err = capsys.readouterr()
    first = next(line for line in err.splitlines() if line.startswith("study "))
    assert "on nifti + nifti, 4 labelled, 4 more without labels, budget smoke" in first
    assert json.loads(out)["volumes"] == {"labelled": 4, "unlabelled": 4}
    assert json.loads(out)["spec"]["pool"] == "nifti"

"""What a finished run of somebody else must be: each planted fault is told by its name."""

import json
import os
import pickle
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contrabench.exchange import vetting
from contrabench.exchange.merge import merge_stores
from contrabench.exchange.vetting import unsafe, unsound
from contrabench.files import MARKER, seal_folder
from contrabench.store.results import read_rows


def write(name, content, sealed=True):
    def plant(run):
        (run / name).parent.mkdir(exist_ok=True)
        data = content(run) if callable(content) else content
        (run / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        if sealed:
            seal_folder(run)

    return plant


def lose(name, sealed=False):
    def plant(run):
        (run / name).unlink()
        if sealed:
            seal_folder(run)

    return plant


def mark(name):
    """The marker names one more file."""

    def plant(run):
        content = json.loads((run / MARKER).read_text())
        content["files"][name] = "0" * 64
        (run / MARKER).write_text(json.dumps(content))

    return plant


def spec(**changes):
    def plant(run):
        content = json.loads((run / "spec.json").read_text())
        (run / "spec.json").write_text(json.dumps(content | changes))
        seal_folder(run)

    return plant


def rows(change):
    def plant(run):
        pq.write_table(change(pq.read_table(run / "rows.parquet")), run / "rows.parquet")
        seal_folder(run)

    return plant


def column(name, value):
    def change(table):
        field = table.schema.field(name)
        values = pa.array([value] * len(table), field.type)
        return table.set_column(table.column_names.index(name), field, values)

    return rows(change)


def link(name):
    def plant(run):
        target = run.parent / "elsewhere.json"
        (run / name).rename(target)
        (run / name).symlink_to(target)

    return plant


def linked_folder(run):
    run.rename(run.parent.parent / "away")
    run.symlink_to(run.parent.parent / "away")


def pipe(run):
    (run / "run.json").unlink()
    os.mkfifo(run / "run.json")


def pickled_array(run):
    np.savez(run / "extra.npz", x=np.array([{}], dtype=object))
    seal_folder(run)


def pickle_beside_an_array(run):
    with zipfile.ZipFile(run / "extra.npz", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps({}))
    seal_folder(run)


def cut_rows(run):
    data = (run / "rows.parquet").read_bytes()
    return data[:100] + data[-100:]


FAULTS = {
    "changed bytes": (write("run.json", "{}", sealed=False), "has changed"),
    "lost rows": (lose("rows.parquet"), "rows.parquet is missing"),
    "no marker": (lose(MARKER), "done.json is missing"),
    "deep marker": (write(MARKER, '{"files":' + "[" * 200_000, False), "marker is unreadable"),
    "escaping marker": (mark("../../../../etc/passwd"), "outside the folder"),
    "absolute marker": (mark("/etc/passwd"), "outside the folder"),
    "marker of a subfolder": (write("more/x.json", "{}"), "no file of a stage is called"),
    "marker of a backslash": (mark("..\\..\\x.json"), "no file of a stage is called"),
    "linked file": (link("run.json"), "run.json is a link"),
    "linked marker": (link(MARKER), "done.json is a link"),
    "linked folder": (linked_folder, "it is a link"),
    "pipe": (pipe, "no ordinary file"),
    "pickle": (write("extra.pkl", pickle.dumps({})), "files of that kind are never taken in"),
    "other parquet": (write("more.parquet", "PAR1"), "files of that kind are never taken in"),
    "pickled array": (pickled_array, "holds a pickle"),
    "pickle beside an array": (pickle_beside_an_array, "no archive of arrays"),
    "no tensors": (write("weights.safetensors", b"\xff" * 64), "no safetensors file"),
    "other specification": (spec(seed=12345), "gives the runs key"),
    "specification with a kind": (spec(kind="runs"), "no specification of a stage"),
    "infinite specification": (write("spec.json", '{"x": Infinity}'), "no specification"),
    "no specification": (lose("spec.json", sealed=True), "it has no spec.json"),
    "no record": (lose("run.json", sealed=True), "it has no run.json"),
    "record of another": (write("run.json", '{"run": "0000000000000000"}'), "of another run"),
    "broken record": (write("run.json", "{"), "run.json is no JSON"),
    "rows of another": (column("run", "0" * 16), "its rows are those of run 0000000000000000"),
    "rows of another protocol": (column("protocol", "0" * 16), "under another protocol"),
    "rows without Dice": (column("dice", None), "no Dice"),
    "no rows": (rows(lambda table: table.slice(0, 0)), "0 rows"),
    "too many rows": (rows(lambda table: table.take(pa.array(np.zeros(501, int)))), "501 rows"),
    "broken rows": (write("rows.parquet", cut_rows), "rows.parquet cannot be read"),
    "strange name": (lambda run: run.rename(run.with_name("backup")), "not that of a stage"),
    "renamed": (
        lambda run: run.rename(run.with_name("0" * 16)),
        "its spec.json gives the runs key",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_by_its_name(fault, tmp_path, lab, monkeypatch):
    monkeypatch.setattr(vetting, "MOST_ROWS", 500)
    run = lab.run(tmp_path, stages=False)
    assert (unsafe(run, "runs"), unsound(run, "runs")) == (None, None)
    plant, words = FAULTS[fault]
    plant(run)
    (run,) = (path for path in run.parent.iterdir() if path.suffix not in (".lock", ".json"))
    reason = unsafe(run, "runs") or unsound(run, "runs")
    assert words in reason
    assert "\n" not in reason


@pytest.mark.parametrize("fault", ["no marker", "renamed"])
def test_a_fault_is_refused_and_the_rest_is_merged(fault, tmp_path, lab):
    source, target = tmp_path / "source", tmp_path / "target"
    bad, good = (lab.run(source, seed, stages=False) for seed in (0, 1))
    FAULTS[fault][0](bad)
    promised = merge_stores([source], target, dry_run=True)
    result = merge_stores([source], target)
    assert result.as_dict() == promised.as_dict()
    (item,) = result.left_out
    assert (item.verdict, item.folder.parent) == ("refused", bad.parent)
    assert FAULTS[fault][1] in item.reason
    assert result.taken == {"runs": 1, "splits": 4}
    kept = {path.name for path in (target / "runs").iterdir() if path.suffix != ".lock"}
    assert kept == {good.name}
    assert read_rows(target)[0]["seed"].tolist() == [1, 1]

"""The overview of a store against counts by hand."""

from contrabench.store.overview import COLUMNS, contents, disk_use
from contrabench.store.results import read_rows


def test_one_line_per_protocol(tmp_path, lab):
    lab.run(tmp_path, 0, stages=False)
    lab.run(tmp_path, 1, stages=False, variant="mmgl", labels="5%", fraction=0.05, patients=3)
    lab.run(tmp_path, 2, stages=False, dataset="acdc", labels="100%", fraction=1.0)
    rows, _ = read_rows(tmp_path, COLUMNS)
    first, second = contents(rows)
    assert (first["dataset"], second["dataset"]) == ("acdc", "phantom")
    assert (first["runs"], first["methods"], first["patients"]) == (1, 1, 2)
    assert (second["runs"], second["methods"], second["patients"]) == (2, 2, 3)
    assert second["labels"] == ["5%", "10%"]


def test_an_empty_store_has_no_line(tmp_path):
    assert contents(read_rows(tmp_path, COLUMNS)[0]) == []


def test_disk_use_is_the_sum_of_sizes(tmp_path, lab):
    lab.run(tmp_path, 0)
    found = disk_use(tmp_path)
    assert set(found) == {
        "runs", "splits", "stages/pretrain", "stages/finetune", "stages/evaluate",
    }  # fmt: skip
    for name, size in found.items():
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        expected = sum(len(path.read_bytes()) for path in files)
        assert size == expected > 0

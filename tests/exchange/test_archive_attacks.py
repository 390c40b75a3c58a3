"""Archives of strangers: each kind of tampering is refused, in one line that names the file."""

import errno
import hashlib
import json
import stat
import struct
import warnings
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contrabench.errors import DiskFullError, RequestError
from contrabench.exchange.archive import ArchiveError, pack, unpacked
from contrabench.exchange.merge import merge_stores
from contrabench.exchange.reading import results_at
from contrabench.files import MARKER, seal_folder
from contrabench.protocol import digest

LISTING = "submission.json"


@pytest.fixture
def archive(tmp_path, lab):
    lab.run(tmp_path / "lab", 0, stages=False)
    lab.run(tmp_path / "lab", 1, stages=False)
    return pack(tmp_path / "lab", tmp_path / "lab.zip").path


def members(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rebuild(path, held, **options):
    """Writes an archive with these files and a ZIP that is in order."""
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in held.items():
            file.writestr(name, data)


def relist(held, **changes):
    """Makes the listing tell of the files as they are, and of what else is wanted."""
    files = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in held.items()
        if name != LISTING
    }
    listing = json.loads(held[LISTING]) | {"files": files} | changes
    return held | {LISTING: json.dumps(listing).encode()}


def first(held, end):
    return next(name for name in held if name.endswith(end))


def flipped(path):
    held = members(path)
    name = first(held, "rows.parquet")
    data = bytearray(held[name])
    data[len(data) // 2] ^= 1
    rebuild(path, held | {name: bytes(data)})
    return f"{name}: it is not the file that"


def longer(path):
    held = members(path)
    name = first(held, "run.json")
    rebuild(path, held | {name: held[name] + b" "})
    return f"{name}: it is not the file that"


def listing_of_other_methods(path):
    held = members(path)
    rebuild(path, relist(held, methods={"mmgl": [1]}))
    return f"{LISTING}: its methods are not those that were found"


def listing_of_more_runs(path):
    rebuild(path, relist(members(path), runs=3))
    return "its runs are not those that were found"


def listing_of_more_rows(path):
    rebuild(path, relist(members(path), rows=5))
    return "its rows are not those that were found"


def listing_with_more_to_say(path):
    rebuild(path, relist(members(path), winner="mmgl"))
    return f"{LISTING}: it is no listing"


def listing_of_odd_names(path):
    held = members(path)
    listing = json.loads(held[LISTING])
    listing["files"]["../x.json"] = {"sha256": "0" * 64, "size": 1}
    rebuild(path, held | {LISTING: json.dumps(listing).encode()})
    return "it names '../x.json', which no submission holds"


def broken_listing(path):
    rebuild(path, members(path) | {LISTING: b"["})
    return f"{LISTING}: it is no listing"


def deep_listing(path):
    rebuild(path, members(path) | {LISTING: b"[" * 200_000})
    return f"{LISTING}: it is no listing"


def newer_format(path):
    rebuild(path, relist(members(path), format=2, more="of this"))
    return "a newer contrabench packed it; update contrabench"


def no_listing(path):
    held = members(path)
    del held[LISTING]
    rebuild(path, held)
    return f"{LISTING}: it is missing"


def missing(path):
    held = members(path)
    name = first(held, "spec.json")
    del held[name]
    rebuild(path, held)
    return f"{name}: it is missing, though listed"


def missing_and_unlisted(path):
    held = members(path)
    name = first(held, "spec.json")
    del held[name]
    rebuild(path, relist(held))
    return f"{name.rsplit('/', 1)[0]}: the file spec.json is missing"


def extra(path):
    held = members(path)
    name = f"runs/{'0' * 16}/run.json"
    rebuild(path, held | {name: b"{}"})
    return f"{name}: it is not listed"


def manifest_of_no_run(path):
    held = members(path)
    content = {"labels": "10%", "fraction": 0.1, "draw": 9, "patients": ["a"], "of": 2}
    name = f"splits/labels-{digest(content)}.json"
    rebuild(path, relist(held | {name: json.dumps(content).encode()}))
    return "its files are not those that were found"


def made_up_manifest(path):
    held = members(path)
    name = next(name for name in held if name.startswith("splits/split-"))
    rebuild(path, relist(held | {name: held[name].replace(b'"a"', b'"z"')}))
    return f"{name}, which it names, is not there or bad"


def twice(path):
    name = first(members(path), "rows.parquet")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr(name, b"other")
    return f"{name}: it is there twice"


def named(name):
    def plant(path):
        held = members(path)
        with zipfile.ZipFile(path, "w") as file:
            for one, data in (relist(held | {name: b"{}"})).items():
                info = zipfile.ZipInfo("x")
                info.filename = one
                file.writestr(info, data)
        return "no file of a submission is called that"

    plant.__name__ = f"named_{name!r}"
    return plant


def with_mode(mode, path, words):
    held = members(path)
    name = first(held, "run.json")
    with zipfile.ZipFile(path, "w") as file:
        for one, data in held.items():
            info = zipfile.ZipInfo(one)
            info.external_attr = (mode if one == name else stat.S_IFREG) << 16
            file.writestr(info, data)
    return f"{name}: {words}"


def link(path):
    return with_mode(stat.S_IFLNK | 0o777, path, "it is a link")


def device(path):
    return with_mode(stat.S_IFCHR | 0o666, path, "it is a link or no ordinary file")


def compressed(path):
    rebuild(path, members(path), compression=zipfile.ZIP_DEFLATED)
    return "it is compressed, which"


def bomb(path):
    """A thousand bytes for each byte of the archive."""
    held = members(path)
    name = first(held, "run.json")
    held = relist(held | {name: b" " * 10_000_000})
    rebuild(path, held, compression=zipfile.ZIP_DEFLATED)
    return "it is compressed, which"


def entry(data, name):
    """Where a file's line in the table of contents begins."""
    place = data.rindex(name.encode()) - 46
    assert data[place : place + 4] == b"PK\1\2"
    return place


def patched(path, name, offset, form, *values):
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, entry(data, name) + offset, *values)
    path.write_bytes(data)


def bomb_that_says_it_is_stored(path):
    held = members(path)
    name = first(held, "rows.parquet")
    patched(path, name, 20, "<2L", 10_000_000, 10_000_000)
    return "its files are together larger than the archive"


def overlapping(path):
    """Every file says that it goes on for half of the archive, over the files behind it."""
    held = members(path)
    listing = json.loads(held[LISTING])
    for name in list(listing["files"]):
        listing["files"][name]["size"] = path.stat().st_size // 2
    rebuild(path, held | {LISTING: json.dumps(listing).encode()})
    for name in listing["files"]:
        patched(path, name, 20, "<2L", *[path.stat().st_size // 2] * 2)
    return "its files are together larger than the archive"


def huge(path):
    name = first(members(path), "rows.parquet")
    patched(path, name, 20, "<2L", 2**31, 2**31)
    return f"{name}: it is larger than 64 MiB"


def encrypted(path):
    name = first(members(path), "rows.parquet")
    patched(path, name, 8, "<H", 1)
    return f"{name}: it is encrypted"


def truncated(path):
    path.write_bytes(path.read_bytes()[:-30])
    return "it is no ZIP archive, or not all of it is there"


def beginning_lost(path):
    path.write_bytes(path.read_bytes()[1000:])
    return "it cannot be read"


def no_zip(path):
    path.write_bytes(b"dice\n0.99\n" * 100)
    return "it is no ZIP archive"


def empty(path):
    path.write_bytes(b"")
    return "it is no ZIP archive"


def commented(path):
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"see also"
    return "it is no ZIP archive"


def too_large_a_table(path):
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, len(data) - 10, 2**30)
    path.write_bytes(data)
    return "it has more files than a submission can have"


def wide(path):
    """A second end, in the form for large archives, that tells of another table."""
    data = path.read_bytes()
    path.write_bytes(data[:-22] + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + data[-22:])
    return "it has more files than a submission can have"


# -- numbers made up, with checksums in order ------------------------------------------


def forge(path, change):
    """Unpacks, lets a run be changed, and makes every checksum fit again."""
    with unpacked(path) as store:
        run = min(folder for folder in (store / "runs").iterdir())
        reason = change(run)
        (run / MARKER).unlink()
        seal_folder(run)
        held = {LISTING: members(path)[LISTING]} | {
            file.relative_to(store).as_posix(): file.read_bytes()
            for file in sorted(store.rglob("*.*"))
        }
    rebuild(path, relist(held))
    return reason


def set_column(run, name, value):
    table = pq.read_table(run / "rows.parquet")
    field = table.schema.field(name)
    column = pa.array([value] * len(table), field.type)
    table = table.set_column(table.column_names.index(name), field, column)
    pq.write_table(table, run / "rows.parquet")


def rows_of_another_run(path):
    def change(run):
        set_column(run, "dice", 0.99)
        set_column(run, "run", "0" * 16)
        return f"runs/{run.name}: rows.parquet: its rows are those of run {'0' * 16}"

    return forge(path, change)


def rows_of_another_protocol(path):
    def change(run):
        set_column(run, "protocol", "0" * 16)
        return f"runs/{run.name}: rows.parquet is under another protocol"

    return forge(path, change)


def scores_dropped(path):
    def change(run):
        set_column(run, "dice", None)
        return f"runs/{run.name}: rows.parquet: a structure that applies has no Dice"

    return forge(path, change)


def smaller_budget(path):
    """The specification is changed to one that promises less; the key gives it away."""

    def change(run):
        spec = json.loads((run / "spec.json").read_text())
        (run / "spec.json").write_text(json.dumps(spec | {"seed": 99}))
        return f"runs/{run.name}: its spec.json gives the runs key "

    return forge(path, change)


def record_of_another(path):
    def change(run):
        (run / "run.json").write_text('{"run": "0000000000000000"}')
        return f"runs/{run.name}: run.json is the record of another run"

    return forge(path, change)


def not_of_a_run(path):
    def change(run):
        (run / "rows.parquet").write_bytes(b"PAR1")
        return f"runs/{run.name}: rows.parquet cannot be read"

    return forge(path, change)


TRICKS = [
    flipped, longer, listing_of_other_methods, listing_of_more_runs, listing_of_more_rows,
    listing_with_more_to_say, listing_of_odd_names, broken_listing, deep_listing, newer_format,
    no_listing, missing, missing_and_unlisted, extra, manifest_of_no_run, made_up_manifest, twice,
    *map(named, [
        "../x.json", "/etc/x.json", f"runs/{'0' * 16}/../../x.json", "..\\x.json", "C:\\x.json",
        f"runs/{'0' * 16}/x.pkl", f"runs/{'0' * 16}/", f"runs/{'0' * 16}/run.json\0.py",
        f"runs/{'A' * 16}/run.json", f"runs/{'0' * 16}/run.json\n", "stages/x.json",
        f"\uff52uns/{'0' * 16}/run.json",
    ]),
    link, device, compressed, bomb, bomb_that_says_it_is_stored, overlapping, huge, encrypted,
    truncated, beginning_lost, no_zip, empty, commented, too_large_a_table, wide,
    rows_of_another_run, rows_of_another_protocol, scores_dropped, smaller_budget,
    record_of_another, not_of_a_run,
]  # fmt: skip


@pytest.mark.parametrize("plant", TRICKS, ids=lambda plant: plant.__name__)
def test_a_trick_is_refused_as_a_whole_and_the_rest_is_taken(plant, archive, tmp_path, lab):
    reason = plant(archive)
    good = lab.run(tmp_path / "good", 5, stages=False)
    pack(tmp_path / "good", tmp_path / "board" / "z.zip")
    bad = archive.rename(tmp_path / "board" / "a.zip")
    with pytest.raises(ArchiveError) as raised:
        results_at(bad)
    assert isinstance(raised.value, RequestError)
    assert reason in str(raised.value)
    assert str(bad) in str(raised.value)
    assert "\n" not in str(raised.value)
    merge_stores([bad], tmp_path / "alone")
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["merge.lock"]
    target = tmp_path / "target"
    promised = merge_stores([bad.parent], target, dry_run=True)
    result = merge_stores([bad.parent], target)
    assert result.as_dict() == promised.as_dict()
    (item,) = result.left_out
    assert (item.verdict, item.folder, item.reason) == ("refused", bad, raised.value.reason)
    assert result.taken == {"runs": 1, "splits": 2}
    assert [path.name for path in (target / "runs").iterdir() if path.is_dir()] == [good.name]
    board = results_at(bad.parent)
    assert board.rows["seed"].tolist() == [5, 5]
    assert board.problems == (f"{bad} is left out: {item.reason}",)


def test_better_numbers_whose_checksums_all_fit_cannot_be_told(archive, tmp_path):
    """What the documentation admits; the SHA-256 told on packing is another one, though."""
    before = hashlib.sha256(archive.read_bytes()).hexdigest()
    forge(archive, lambda run: set_column(run, "dice", 0.99))
    assert (results_at(archive).rows["dice"] == 0.99).any()
    assert hashlib.sha256(archive.read_bytes()).hexdigest() != before


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_damage_is_refused_or_changes_nothing(data, archive, tmp_path):
    """Bytes that nobody reads, such as dates, may change; what is taken in may not."""
    sound = archive.read_bytes()
    spoiled = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(
            st.integers(0, len(sound) - 1) | st.integers(len(sound) - 1500, len(sound) - 1)
        )
        spoiled[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del spoiled[data.draw(st.integers(0, len(sound))) :]
    path = tmp_path / "spoiled.zip"
    path.write_bytes(spoiled)
    try:
        with unpacked(path) as store:
            taken = {
                file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("*.*")
            }
    except ArchiveError:
        return
    listed = members(archive)
    del listed[LISTING]
    assert taken == listed


def test_a_full_disk_is_no_fault_of_the_archive(archive, monkeypatch):
    def fail(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(DiskFullError, match="no room is left in"), unpacked(archive):
        pass


def test_only_the_advice_that_helps_is_given(archive):
    newer_format(archive)
    with pytest.raises(ArchiveError) as raised:
        results_at(archive)
    assert "update contrabench" in str(raised.value)
    assert "ask for it again" not in str(raised.value)
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ArchiveError, match="ask for it again, and compare its SHA-256"):
        results_at(archive)

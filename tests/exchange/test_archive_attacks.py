"""Archives of strangers: each kind of tampering is refused, in one line that names the archive."""

import hashlib
import json
import shutil
import stat
import struct
import warnings
import zipfile

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
NOBODY = "0" * 16


@pytest.fixture
def archive(tmp_path, lab):
    lab.run(tmp_path / "lab", 0, stages=False)
    lab.run(tmp_path / "lab", 1, stages=False)
    pack(tmp_path / "lab", tmp_path / "lab.zip")
    return tmp_path / "lab.zip"


def members(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def first(path, beginning, end):
    return next(name for name in members(path) if name.startswith(beginning) and name.endswith(end))


def rebuild(path, held, relisted=False, told=None, modes=None, **options):
    """Writes an archive with these files and a ZIP that is in order.

    `relisted`: the listing tells of the files as they are. `told`: and of what else is wanted.
    """
    if relisted or told:
        files = {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for name, data in held.items()
            if name != LISTING
        }
        listing = {**json.loads(held[LISTING]), "files": files, **(told or {})}
        held = held | {LISTING: json.dumps(listing).encode()}
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in held.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, file.compression
            info.external_attr = (modes or {}).get(name, stat.S_IFREG) << 16
            file.writestr(info, data)


def change(path, file, to, relisted=False, **options):
    """Other bytes for the first file whose name ends so; none to drop it."""
    held = members(path)
    name = first(path, "", file)
    data = to(held.pop(name))
    rebuild(path, held if data is None else held | {name: data}, relisted, **options)


def add(path, name, data=b"{}", relisted=True):
    rebuild(path, members(path) | {name: data}, relisted)


def tell(path, **told):
    rebuild(path, members(path), told=told)


def flip(data):
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def list_odd_name(data):
    listing = json.loads(data)
    listing["files"]["../x.json"] = {"sha256": "0" * 64, "size": 1}
    return json.dumps(listing).encode()


def manifest_of_no_run(path):
    content = {"labels": "10%", "fraction": 0.1, "draw": 9, "patients": ["a"], "of": 2}
    add(path, f"splits/labels-{digest(content)}.json", json.dumps(content).encode())


def made_up_manifest(path):
    name = first(path, "splits/split-", "")
    change(path, name, lambda data: data.replace(b'"a"', b'"z"'), relisted=True)


def twice(path):
    name = first(path, "", "rows.parquet")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr(name, b"other")


def mode(path, kind):
    rebuild(path, members(path), modes={first(path, "", "run.json"): kind | 0o777})


def patch(path, name, offset, form, *values):
    """Other numbers in a file's line of the table of contents."""
    data = bytearray(path.read_bytes())
    place = data.rindex(name.encode()) - 46
    assert data[place : place + 4] == b"PK\1\2"
    struct.pack_into(form, data, place + offset, *values)
    path.write_bytes(data)


def patch_rows(path, offset, form, *values):
    patch(path, first(path, "", "rows.parquet"), offset, form, *values)


def overlapping(path):
    """Every file says that it goes on for half of the archive, over the files behind it."""
    half = path.stat().st_size // 2
    listing = json.loads(members(path)[LISTING])
    for one in listing["files"].values():
        one["size"] = half
    change(path, LISTING, lambda data: json.dumps(listing).encode())
    for name in listing["files"]:
        patch(path, name, 20, "<2L", half, half)


def commented(path):
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"see also"


def large_table(path):
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, len(data) - 10, 2**30)
    path.write_bytes(data)


def wide(path):
    """A second end, in the form for large archives, that tells of another table."""
    data = path.read_bytes()
    path.write_bytes(data[:-22] + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + data[-22:])


def forge(path, *changes):
    """Unpacks, lets a run be changed, and makes every checksum fit again."""
    with unpacked(path) as store:
        run = min(folder for folder in (store / "runs").iterdir())
        for one in changes:
            one(run)
        (run / MARKER).unlink()
        seal_folder(run)
        held = {LISTING: members(path)[LISTING]} | {
            file.relative_to(store).as_posix(): file.read_bytes()
            for file in sorted(store.rglob("*.*"))
        }
    rebuild(path, held, relisted=True)


def column(name, value):
    def change(run):
        table = pq.read_table(run / "rows.parquet")
        field = table.schema.field(name)
        values = pa.array([value] * len(table), field.type)
        table = table.set_column(table.column_names.index(name), field, values)
        pq.write_table(table, run / "rows.parquet")

    return change


def smaller_budget(run):
    """The specification is changed to one that promises less; the key gives it away."""
    spec = json.loads((run / "spec.json").read_text())
    (run / "spec.json").write_text(json.dumps(spec | {"seed": 99}))


ATTACKS = {
    "a flipped bit": lambda path: change(path, "rows.parquet", flip),
    "a longer file": lambda path: change(path, "run.json", lambda data: data + b" "),
    "other methods listed": lambda path: tell(path, methods={"mmgl": [1]}),
    "more runs listed": lambda path: tell(path, runs=3),
    "more rows listed": lambda path: tell(path, rows=5),
    "more to say": lambda path: tell(path, winner="mmgl"),
    "a newer format": lambda path: tell(path, format=2, more="of this"),
    "an odd name listed": lambda path: change(path, LISTING, list_odd_name),
    "a broken listing": lambda path: change(path, LISTING, lambda data: b"["),
    "a deep listing": lambda path: change(path, LISTING, lambda data: b"[" * 200_000),
    "no listing": lambda path: change(path, LISTING, lambda data: None),
    "a lost file": lambda path: change(path, "spec.json", lambda data: None),
    "a lost file, unlisted": lambda path: change(path, "spec.json", lambda data: None, True),
    "an unlisted file": lambda path: add(path, f"runs/{NOBODY}/run.json", relisted=False),
    "an unlisted manifest": lambda path: add(path, f"splits/split-{NOBODY}.json", relisted=False),
    "a manifest of no run": manifest_of_no_run,
    "a manifest made up": made_up_manifest,
    "a file twice": twice,
    "a link": lambda path: mode(path, stat.S_IFLNK),
    "a device": lambda path: mode(path, stat.S_IFCHR),
    "compressed": lambda path: rebuild(path, members(path), compression=zipfile.ZIP_DEFLATED),
    "a bomb": lambda path: change(
        path, "run.json", lambda data: b" " * 10**7, True, compression=zipfile.ZIP_DEFLATED
    ),
    "a bomb that says it is stored": lambda path: patch_rows(path, 20, "<2L", 10**7, 10**7),
    "overlapping": overlapping,
    "huge": lambda path: patch_rows(path, 20, "<2L", 2**31, 2**31),
    "encrypted": lambda path: patch_rows(path, 8, "<H", 1),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "without its beginning": lambda path: path.write_bytes(path.read_bytes()[1000:]),
    "no ZIP": lambda path: path.write_bytes(b"dice\n0.99\n" * 100),
    "empty": lambda path: path.write_bytes(b""),
    "commented": commented,
    "a large table of contents": large_table,
    "zip64": wide,
    "rows of another run": lambda path: forge(path, column("dice", 0.9), column("run", NOBODY)),
    "rows of another protocol": lambda path: forge(path, column("protocol", NOBODY)),
    "scores dropped": lambda path: forge(path, column("dice", None)),
    "a smaller budget": lambda path: forge(path, smaller_budget),
    "the record of another": lambda path: forge(
        path, lambda run: (run / "run.json").write_text(f'{{"run": "{NOBODY}"}}')
    ),
    "no rows of a run": lambda path: forge(
        path, lambda run: (run / "rows.parquet").write_bytes(b"PAR1")
    ),
}
NAMES = [
    "../x.json", "/etc/x.json", f"runs/{NOBODY}/../../x.json", "..\\x.json", "C:\\x.json",
    f"runs/{NOBODY}/x.pkl", f"runs/{NOBODY}/", f"runs/{NOBODY}/run.json\0.py",
    f"runs/{'A' * 16}/run.json", f"runs/{NOBODY}/run.json\n", "stages/x.json",
    f"\uff52uns/{NOBODY}/run.json",
]  # fmt: skip
ATTACKS |= {f"named {name!r}": lambda path, name=name: add(path, name) for name in NAMES}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_as_a_whole(attack, archive, tmp_path):
    ATTACKS[attack](archive)
    with pytest.raises(ArchiveError) as raised:
        results_at(archive)
    text = str(raised.value)
    assert isinstance(raised.value, RequestError)
    assert text.startswith(f"the archive {archive} is refused: {raised.value.reason}. Nothing ")
    assert "\n" not in text
    assert ("update contrabench" in text) == (attack == "a newer format")
    assert ("ask for it again, and compare its SHA-256" in text) == (attack != "a newer format")
    (item,) = merge_stores([archive], tmp_path / "target").left_out
    assert (item.verdict, item.folder, item.reason) == ("refused", archive, raised.value.reason)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["merge.lock"]


def test_other_archives_are_taken_all_the_same(archive, tmp_path, lab):
    good = lab.run(tmp_path / "good", 5, stages=False)
    pack(tmp_path / "good", tmp_path / "board" / "z.zip")
    bad = archive.rename(tmp_path / "board" / "a.zip")
    ATTACKS["a flipped bit"](bad)
    target = tmp_path / "target"
    promised = merge_stores([bad.parent], target, dry_run=True)
    result = merge_stores([bad.parent], target)
    assert result.as_dict() == promised.as_dict()
    assert result.taken == {"runs": 1, "splits": 2}
    assert [path.name for path in (target / "runs").iterdir() if path.is_dir()] == [good.name]
    board = results_at(bad.parent)
    assert board.rows["seed"].tolist() == [5, 5]
    assert board.problems == (f"{bad} is left out: {result.left_out[0].reason}",)


def test_better_numbers_whose_checksums_all_fit_cannot_be_told(archive, tmp_path):
    """What the documentation admits; the SHA-256 told on packing is another one, though."""
    before = hashlib.sha256(archive.read_bytes()).hexdigest()
    forge(archive, column("dice", 0.99))
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
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    with pytest.raises(DiskFullError, match="no room is left in"), unpacked(archive):
        pass

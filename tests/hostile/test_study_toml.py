"""Files of studies and of the configuration that cannot be read, or ask for what cannot be."""

import pytest
from tests.hostile.refusals import Refusal, refused

HEAD = 'methods = ["scratch"]\ndataset = "phantom"\nlabels = ["10%"]\n'
PHASE = "images = 32\nbatch = 8\nlr = 1e-3\n"


def study(content, name="study.toml"):
    """A study of these bytes or words, planned."""

    def make(given):
        data = content if isinstance(content, bytes) else content.encode()
        (given / name).write_bytes(data)
        return ["plan", str(given / name), "--threads", "1"]

    return make


def more(line):
    """A study that is in order but for one more line."""
    return study(HEAD + line + "\n")


def budget(name="tiny", pixels="32", width="4", pretrain=PHASE, finetune=PHASE):
    """A study with a budget of its own."""
    return more(
        f"[budget]\nname = {name!r}\npixels = {pixels}\nwidth = {width}\n"
        f"[budget.pretrain]\n{pretrain}[budget.finetune]\n{finetune}"
    )


def config(content):
    """A configuration file of these bytes or words, in the way of a report."""

    def make(given):
        data = content if isinstance(content, bytes) else content.encode()
        (given / "contrabench.toml").write_bytes(data)
        return ["report", "--config", str(given / "contrabench.toml")]

    return make


def a_folder(given):
    (given / "study.toml").mkdir()
    return ["plan", str(given / "study.toml")]


REFUSALS = [
    Refusal("a study in UTF-16", study(HEAD.encode("utf-16")), "no text in UTF-8"),
    Refusal("a study in Latin-1", study("# Größe\n".encode("latin-1") + HEAD.encode()), "UTF-8"),
    Refusal("a study that is a folder", a_folder, "cannot be read: Is a directory"),
    Refusal("a study that is empty", study(""), "'methods' is missing"),
    Refusal("a study cut off", study(HEAD + "draws = ["), "no valid TOML"),
    Refusal("a study nested too deep", more(f"x = {'[' * 20_000}"), "no valid TOML"),
    Refusal("a key twice", more("draws = 1\ndraws = 2"), "no valid TOML"),
    Refusal("a key that nobody knows", more("seed = 1"), "'seed' is unknown; did you mean 'seeds'"),
    Refusal("a word where a list is due", study('methods = "x"\ndataset = "phantom"'), "a list in"),
    Refusal("one fold in a study", more("folds = 1"), "'folds' is a number from 2 to 1000, not 1"),
    Refusal("half a fold", more("folds = 2.5"), "'folds' should be a valid integer"),
    Refusal("no draws", more("draws = 0"), "'draws' is a number from 1 to 1000"),
    Refusal("a list of no draws", more("draws = []"), "'draws'"),
    Refusal("a draw below nought", more("draws = [-1]"), "'draws.0' is a number from 0 to"),
    Refusal("a seed of 25 digits", more(f"seeds = [{10**24}]"), "'seeds.0' is a number from 0 to"),
    Refusal("labels without end", study(HEAD.replace('"10%"', "inf")), "'inf' is no share"),
    Refusal("a fold that is not drawn", more("test_folds = [7]"), "there is no fold 7"),
    Refusal("a split of no user", more('split = "~nosuchuser/x.json"'), "no user 'nosuchuser'"),
    Refusal("a split that is a folder", more('split = "."'), "split"),
    Refusal("pixels beyond all memory", budget(pixels="1000000000"), "from 32 to 2048"),
    Refusal("pixels that cannot be halved", budget(pixels="33"), "in steps of 16, not 33"),
    Refusal("no pixels", budget(pixels="0"), "'budget.pixels' is a number from 32"),
    Refusal("a network without channels", budget(width="0"), "'budget.width' is a number from 4"),
    Refusal(
        "a learning rate without end",
        budget(pretrain=PHASE.replace("1e-3", "inf")),
        "'budget.pretrain.lr' should be a finite number",
    ),
    Refusal(
        "a learning rate that is no number",
        budget(finetune=PHASE.replace("1e-3", "nan")),
        "'budget.finetune.lr' should be a finite number",
    ),
    Refusal(
        "an empty batch", budget(finetune=PHASE.replace("= 8", "= 0")), "'budget.finetune.batch'"
    ),
    Refusal("a phase that lacks its rate", budget(pretrain="images = 1\nbatch = 1\n"), "missing"),
    Refusal("a budget whose name is a table's row", budget(name="a\nb"), "'budget.name'"),
    Refusal(
        "an option of the dataset out of its bounds",
        more("dataset_options = { patients = 0 }"),
        "'patients' is a number from 1 to 999, not 0",
    ),
    Refusal("a configuration of no user", config('store = "~nosuchuser/x"'), "'nosuchuser'"),
    Refusal(
        "backslashes of Windows",
        config('[data]\nnifti = "C:\\Users\\me\\data"\n'),
        "no valid TOML: .*'single quotes'",
    ),
    Refusal(
        "backslashes that make other characters",
        config('[data]\nnifti = "C:\\new\\table"\n'),
        r"control character '\\n'.*'single quotes'",
    ),
    Refusal("a configuration in UTF-16", config('store = "x"\n'.encode("utf-16")), "UTF-8"),
    Refusal("a configuration of other keys", config("stores = 1"), "'stores' is not understood"),
    Refusal("a store that is a number", config("store = 3"), "'store' is not understood"),
    Refusal("a store of no name", config('store = ""'), "a path is empty"),
    Refusal(
        "a configuration that is not there",
        lambda given: ["report", "--config", str(given / "gone.toml")],
        "there is no configuration file at",
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.what)
def test_refused(case, tmp_path):
    refused(case, tmp_path)


@pytest.mark.parametrize("file", ["contrabench.toml", "study.toml"])
def test_a_byte_order_mark_is_no_content(tmp_path, file):
    from contrabench.files import read_toml

    (tmp_path / file).write_bytes(b"\xef\xbb\xbf" + b'store = "x"\n')
    assert read_toml(tmp_path / file) == {"store": "x"}

"""Options of the command line that cannot be carried out: one line, before anything is done."""

import pytest
from tests.hostile.refusals import Refusal, refused

from contrabench.errors import RequestError
from contrabench.store.stages import check_store

RUN = ["run", "--method", "scratch", "--labels", "10%", "--budget", "smoke", "--threads", "1"]
STUDY = ["study", "--methods", "scratch", "--budget", "smoke", "--threads", "1"]


def asks(*words, of=RUN):
    """A run of the phantom, or another command, with more words."""
    return lambda _: [*of, *words]


def stored(make):
    """A run whose store is what `make` leaves in the folder of the input."""

    def asked(given):
        return [*RUN, f"--store={make(given)}"]

    return asked


def a_file(given):
    (given / "file").write_text("mine")
    return given / "file"


def a_link(given):
    (given / "link").symlink_to(given / "gone" / "deep")
    return given / "link"


REFUSALS = [
    Refusal("one fold", asks("--folds", "1"), "whole number from 2 to 1000, not '1'"),
    Refusal("a million folds", asks("--folds", "1000000"), "whole number from 2 to 1000"),
    Refusal("a fold that is no number", asks("--fold", "²"), "'²' is no fold"),
    Refusal("a fold that there is not", asks("--fold", "5"), "no fold 5; 5 folds are numbered"),
    Refusal("a fold of fifty digits", asks("--fold", "9" * 50), "is no fold; write numbers from 0"),
    Refusal("a seed beyond 64 bits", asks("--seed", "9" * 20), f"from 0 to {2**63 - 1}"),
    Refusal("a seed below nought", asks("--seed=-1"), "whole number from 0 to"),
    Refusal("a seed with an underscore", asks("--seed", "1_000"), "whole number from 0 to"),
    Refusal("a draw beyond 32 bits", asks("--draw", str(2**31)), f"from 0 to {2**31 - 1}"),
    Refusal("no threads", asks("--threads", "0"), "whole number from 1 to 1024"),
    Refusal("threads beyond all machines", asks("--threads", "1" + "0" * 12), "from 1 to 1024"),
    Refusal("no device", asks("--devices", "0"), "whole number from 1 to 1024"),
    Refusal("no micro-batch", asks("--accumulate", "0"), "whole number from 1 to 1024"),
    Refusal("no labels", asks("--labels", "0%"), "above 0% and up to 100%"),
    Refusal("more labels than there are", asks("--labels", "101%"), "above 0% and up to 100%"),
    Refusal("labels that are no number", asks("--labels", "nan"), "'nan' is no share"),
    Refusal("no worker", asks("--workers", "0", of=STUDY), "whole number from 1 to 1024"),
    Refusal("a thousand million draws", asks("--draws", "1" + "0" * 9, of=STUDY), "from 1 to 1000"),
    Refusal(
        "a study of millions of runs",
        asks("--labels", "10%", "--draws", "999", "--seeds", "999", of=STUDY),
        "runs, 200000 at most can be planned",
    ),
    Refusal("no step to measure", asks("--steps", "0", of=["profile"]), "from 1 to 100000"),
    Refusal("an option that nobody has", asks("--lables", "3"), "No such option"),
    Refusal("an option without its value", asks("--seed"), "requires an argument"),
    Refusal("a device of another name", asks("--device", "gpu"), "--device"),
    Refusal("a budget of another name", asks("--budget", "huge"), "there is no budget 'huge'"),
    Refusal("a method with a line break", asks("--method", "a\nb"), r"no method.* 'a\\nb'"),
    Refusal("a name that colours the screen", asks("--method", "\x1b[31m"), r"'\\x1b\[31m'"),
    Refusal(
        "a folder, and no dataset that would look into it",
        lambda given: [*RUN, "--data", str(given)],
        "'phantom' makes its volumes and would not look into .*--dataset nifti",
    ),
    Refusal("an option of the dataset without a value", asks("-d", "patients"), "not a pair"),
    Refusal(
        "an infinite option of the method",
        asks("--method", "simclr", "-o", "temperature=inf"),
        "should be a finite number",
    ),
    Refusal(
        "an option of the dataset beyond 64 bits",
        asks("-d", f"seed={10**30}"),
        f"beyond {2**63 - 1}",
    ),
    Refusal("a pool with half a bracket", asks("--pool", "acdc[x:y"), "is not understood"),
    Refusal("a split that there is not", asks("--split", "mine.json"), "there is no file"),
    Refusal("a store of an empty variable", asks("--store", ""), "a path is empty"),
    Refusal("a folder of data of an empty variable", asks("--data", ""), "a path is empty"),
    Refusal("a store of no user", asks("--store", "~nosuchuser/x"), "no user 'nosuchuser'"),
    Refusal("a plug-in of no user", asks("--plugin", "~nosuchuser/x.py"), "no user 'nosuchuser'"),
    Refusal("a store with a line break", asks("--store", "a\nb"), "control character"),
    Refusal("a store that is a file", stored(a_file), "file is a file; name another store"),
    Refusal(
        "a store below a file", stored(lambda given: a_file(given) / "runs"), "file is a file; name"
    ),
    Refusal(
        "a store that is a link to nowhere", stored(a_link), "is a link to .*, which is not there"
    ),
    Refusal("a store with too long a name", asks("--store", "x" * 300), "File name too long"),
    Refusal(
        "a store that leaves no room for names below it",
        asks("--store", "/".join(["deep" * 30] * 33)),
        "File name too long",
    ),
    Refusal(
        "a report into a folder that is a file",
        lambda given: ["report", "--out", str(a_file(given) / "x.html")],
        "cannot be written",
    ),
    Refusal("two formats at once", asks("--json", "--format", "csv", of=["report"]), "contradict"),
    Refusal("a study file that is not there", asks("gone.toml", of=["plan"]), "there is no study"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.what)
def test_refused(case, tmp_path):
    refused(case, tmp_path)


def test_nothing_is_left_of_a_store_that_cannot_be_made(tmp_path):
    with pytest.raises(RequestError, match="too long"):
        check_store(tmp_path / "a" / "b" / ("x" * 300))
    assert not list(tmp_path.iterdir())

"""Descriptions of a dataset that cannot be used, or that describe other files."""

import json

import pytest
from tests.hostile.folders import asks, folder
from tests.hostile.refusals import Refusal, refused


def describes(content, *words):
    """Asks for a sound folder with a `dataset.json` of some text or bytes."""

    def make(root):
        folder(root, "imagesTr", "labelsTr")
        raw = content if isinstance(content, bytes) else content.encode()
        (root / "dataset.json").write_bytes(raw)
        return asks(root, *words)

    return make


def labels(**values):
    return describes(json.dumps({"labels": {"background": 0, **values}}))


def channels(names):
    return describes(json.dumps({"channel_names": names, "labels": {"LV": 1, "RV": 2}}))


def leads_nowhere(root):
    folder(root, "imagesTr", "labelsTr")
    (root / "dataset.json").symlink_to(root / "annex")
    return asks(root)


WHERE = r"dataset\.json"
REFUSALS = [
    Refusal("an empty file", describes(""), f"{WHERE} cannot be used"),
    Refusal("a file that is cut off", describes('{"labels": {"LV":'), f"{WHERE} cannot be used"),
    Refusal("bytes that are no text", describes(b'{"labels": "\xff"}'), f"{WHERE} cannot be used"),
    Refusal("brackets without an end", describes("[" * 100_000), f"{WHERE} cannot be used"),
    Refusal("a list", describes("[]"), f"{WHERE} cannot be used .*no object"),
    Refusal("a link to nowhere", leads_nowhere, f"{WHERE} cannot be used .*No such file"),
    Refusal("no labels", describes("{}"), f'{WHERE}: .*"labels" is missing'),
    Refusal("labels as a list", describes('{"labels": ["LV"]}'), f'{WHERE}: .*"labels"'),
    Refusal("labels as a word", describes('{"labels": "LV"}'), f'{WHERE}: .*"labels"'),
    Refusal("the background alone", labels(), f"{WHERE}: .*no label besides the background"),
    Refusal(
        "a value that is text", labels(LV="1", RV=2), f"""{WHERE}: .*of 'LV' is "1", no whole"""
    ),
    Refusal("a value that is true", labels(LV=True, RV=2), f"{WHERE}: .*of 'LV' is true, no whole"),
    Refusal(
        "a value with a fraction", labels(LV=1.5, RV=2), f"{WHERE}: .*of 'LV' is 1.5, no whole"
    ),
    Refusal("a region of several values", labels(heart=[1, 2]), f"{WHERE}: .*'heart' is a region"),
    Refusal("an ignore label", labels(LV=1, ignore=2), f"{WHERE}: .*ignore label"),
    Refusal("a value twice", labels(LV=1, RV=1), f"{WHERE}: .*occurs twice"),
    Refusal(
        "a name twice",
        describes('{"labels": {"background": 0, "LV": 1, "LV": 2}}'),
        f"{WHERE} cannot be used .*'LV' stands there twice",
    ),
    Refusal("a negative value", labels(LV=-1, RV=2), f"{WHERE}: .*1 to"),
    Refusal("a value beyond 64 bits", labels(LV=2**70, RV=2), f"{WHERE}: .*1 to"),
    Refusal(
        "more structures than a mask can tell",
        labels(**{f"s{value}": value for value in range(1, 256)}),
        f"{WHERE}: .*254 structures at most",
    ),
    Refusal(
        "values that the labels do not have in the Decathlon's form",
        describes('{"labels": {"0": "background", "1": "LV"}}'),
        r"a: label value 2 \(\d+ voxels\) is none of 1 LV",
    ),
    Refusal("channels with a gap", channels({"0": "T1", "2": "T2"}), f"{WHERE}: its channels"),
    Refusal("channels as a list", channels(["T1", "T2"]), f"{WHERE}: its channels"),
    Refusal("more channels than files", channels({"0": "T1", "1": "T2"}), "2 channels"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.what)
def test_refused(case, tmp_path):
    refused(case, tmp_path)


def test_a_mark_of_byte_order_is_no_fault(tmp_path):
    from contrabench.stages.run_spec import open_dataset

    describes(b"\xef\xbb\xbf" + json.dumps({"labels": {"LV": 1, "RV": 2}}).encode())(tmp_path)
    assert [one.name for one in open_dataset("nifti", {}, tmp_path).structures] == ["LV", "RV"]

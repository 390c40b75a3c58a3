"""A folder is a model repository as it stands, and is pushed only if that is asked for."""

import json
import sys

import huggingface_hub
import pytest
from huggingface_hub import ModelCard, ModelCardData
from tests.makers.studies import make_run, make_spec

from contrabench.cli.app import main
from contrabench.stages.leakage import CARD_FACTS
from contrabench.use.card import front_matter
from contrabench.use.export import export
from contrabench.use.trained import find_trained

NAME = "some-group/heart-network"


@pytest.fixture(scope="module")
def store(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    make_run(make_spec("scratch"), prepared[1], folder)
    return folder


@pytest.fixture
def hub(monkeypatch):
    """What reaches the client: its calls, and what it is to answer with."""
    calls = []

    class Api:
        answer = None

        def create_repo(self, repo_id, **options):
            calls.append(("create", repo_id, options))
            if Api.answer:
                raise Api.answer
            return f"https://huggingface.co/{repo_id}"

        def upload_folder(self, *, repo_id, folder_path, **_):
            calls.append(("upload", repo_id, folder_path))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    return calls, Api


@pytest.fixture
def call(store, tmp_path, capsys):
    """`bench export` with further words: code, output and errors."""

    def run(*words):
        (run,) = (path.parent.name for path in (store / "runs").glob("*/run.json"))
        out = str(tmp_path / "out")
        line = ["export", run, "--store", str(store), "--out", out, "--format", "torchscript"]
        with pytest.raises(SystemExit) as ended:
            main([*line, *words])
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_the_card_is_one_for_a_model_hub(store, tmp_path):
    (file,) = (store / "runs").glob("*/run.json")
    for part, task in (("network", "image-segmentation"), ("encoder", "image-feature-extraction")):
        out = tmp_path / part
        files = export(find_trained(str(file.parent), store), part, "safetensors", out)
        assert {"README.md", "config.json", "model.safetensors"} <= {one.name for one in files}
        card = ModelCard.load(out / "README.md")
        assert isinstance(card.data, ModelCardData)
        assert (card.data.license, card.data.license_name) == ("other", "terms-of-the-data")
        assert (card.data.library_name, card.data.pipeline_tag) == ("pytorch", task)
        assert {"contrabench", "scratch"} < {*card.data.tags}
        assert card.data.metrics == (["dice"] if part == "network" else None)
        # Written once more by the library it says the same.
        again = ModelCard(str(card))
        assert again.data.to_dict() == card.data.to_dict()
        assert card.text.lstrip().startswith("# ")


@pytest.mark.parametrize(
    ("terms", "outside", "licence"),
    [
        ("CC BY-NC-SA 4.0", {}, "cc-by-nc-sa-4.0"),
        ("cc0-1.0", {}, "cc0-1.0"),
        ("CC BY-NC-SA 4.0", {"source": "them", "licence": "MIT"}, "other"),
        ("research use after registration", {}, "other"),
        ("CC BY 4.0; the user's", {}, "other"),
        ("", {}, "unknown"),
    ],
)
def test_a_licence_is_never_invented(store, tmp_path, terms, outside, licence):
    (file,) = (store / "runs").glob("*/run.json")
    export(find_trained(str(file.parent), store), "encoder", "torchscript", tmp_path / "out")
    facts = json.loads((tmp_path / "out" / CARD_FACTS).read_text())
    found = front_matter(facts | {"terms": terms, "outside": outside})
    assert found["license"] == licence
    assert ("license_name" in found) == (licence == "other")


def test_nothing_is_pushed_unasked(call, hub):
    assert call()[0] == 0
    assert hub[0] == []


def test_the_folder_and_the_name_are_handed_over(call, hub, tmp_path):
    code, _, err = call("--push", NAME)
    assert (code, hub[0][1]) == (0, ("upload", NAME, tmp_path / "out"))
    assert hub[0][0] == ("create", NAME, {"private": True, "exist_ok": True})
    assert len(hub[0]) == 2
    assert "Traceback" not in err


def test_a_push_that_fails_is_one_line_and_leaves_the_folder(call, hub, tmp_path):
    hub[1].answer = ConnectionError("no\nnetwork")
    code, _, err = call("--push", NAME)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, len(lines)) == (1, 1)
    assert "no network; try again with `hf upload some-group/heart-network" in lines[0]
    assert (tmp_path / "out" / "README.md").is_file()
    assert [one[0] for one in hub[0]] == ["create"]


@pytest.mark.parametrize(
    "name", ["heart", "a/b/c", "a/b--c", "a/", "a/.b", "a/caf\u00e9", "a/b.git"]
)
def test_a_wrong_name_is_refused_before_anything_is_written(call, hub, tmp_path, name):
    code, _, err = call("--push", name)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert not (tmp_path / "out").exists()
    assert hub[0] == []


def test_what_is_missing_is_told_before_anything_is_written(call, hub, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "HF_TOKEN" in call("--push", NAME)[2]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _, err = call("--push", NAME)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "pip install 'contrabench[hub]'" in err
    assert not (tmp_path / "out").exists()
    assert hub[0] == []

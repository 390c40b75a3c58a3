"""`bench methods new`: a starting file that holds as it stands, and every wrong request."""

import ast
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contrabench import plugins
from contrabench.cli.app import main
from contrabench.cli.new import LONGEST, starting_file
from contrabench.contracts import discovery, registry

ROOT = Path(__file__).parents[2]
NAMES = [
    "fresh_idea",
    "x",
    "a_2nd_try",
    "trailing_",
    "method",
    "up",
    "u_net",
    "true",
    "a" * LONGEST,
]
"""Among them those whose classes would be called like something that the file imports."""
TEMPLATES = ["my_method", "my_joint_method", "my_backbone"]


@pytest.fixture
def bench(capsys, tmp_path, monkeypatch):
    """Runs the command line in a folder of its own; what it registers is forgotten after."""
    # Built-ins register when they are first imported, which must not be forgotten.
    for kind in (registry.methods, registry.backbones):
        kind.entries()
        for name in ("_registered", "_collisions", "_failed"):
            monkeypatch.setattr(kind, name, dict(getattr(kind, name)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(discovery.VARIABLE, "")
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    before = set(sys.modules)
    yield call
    for name in set(sys.modules) - before:
        if name.startswith(f"{discovery.PACKAGE}."):
            del sys.modules[name]


def test_the_file_is_a_method_and_the_next_commands_are_told(bench, tmp_path):
    code, out, err = bench("methods", "new", "fresh_idea")
    assert (code, err) == (0, "")
    assert out.splitlines()[1:] == [
        "  bench methods check fresh_idea.py",
        "  bench run --method fresh_idea --plugin fresh_idea.py --labels 10%",
        "  bench report",
    ]
    text = (tmp_path / "fresh_idea.py").read_text()
    for line in out.splitlines()[1:]:
        assert line.strip() in text
    code, out, _ = bench("methods", "show", "fresh_idea", "--plugin", "fresh_idea.py", "--json")
    facts = json.loads(out)
    assert (code, facts["title"]) == (0, "Fresh idea")
    assert [stage["name"] for stage in facts["stages"]] == ["contrast"]
    (option,) = facts["options"]
    assert (option["option"], bool(option["description"])) == ("temperature", True)


def test_the_file_goes_where_it_is_asked_to_go(bench, tmp_path):
    code, out, _ = bench("methods", "new", "fresh_idea", "--out", "my experiments/2")
    assert code == 0
    assert (tmp_path / "my experiments" / "2" / "fresh_idea.py").is_file()
    assert "--plugin 'my experiments/2/fresh_idea.py'" in out


def test_one_that_trains_during_fine_tuning(bench, tmp_path):
    code, out, err = bench("methods", "new", "fresh_idea", "--joint")
    assert (code, err) == (0, "")
    assert "a mean teacher, until you change it" in out
    code, out, _ = bench("methods", "show", "fresh_idea", "--plugin", "fresh_idea.py", "--json")
    facts = json.loads(out)
    assert (code, facts["title"], facts["stages"]) == (0, "Fresh idea", [])
    assert [stage["name"] for stage in facts["joint stages"]] == ["consistency"]
    assert all(option["description"] for option in facts["options"])


def test_a_backbone_is_written_and_the_next_commands_are_told(bench, tmp_path):
    code, out, err = bench("backbones", "new", "fresh_idea", "--out", "nets")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "nets/fresh_idea.py is written: a small U-Net, until you change it. Next:",
        "  bench backbones check nets/fresh_idea.py",
        "  bench methods check simclr --backbone fresh_idea --plugin nets/fresh_idea.py",
        "  bench run --method simclr --labels 10% "
        "--backbone fresh_idea --plugin nets/fresh_idea.py",
        "  bench report",
    ]
    code, out, _ = bench("backbones", "check", "nets/fresh_idea.py", "-b", "kernel=5", "--json")
    (told,) = json.loads(out)["backbones"]
    assert (code, told["name"], told["passed"]) == (0, "fresh_idea", True)
    assert {one["status"] for one in told["results"]} == {"passed"}
    code, out, _ = bench(
        "backbones", "show", "fresh_idea", "--plugin", "nets/fresh_idea.py", "--json"
    )
    facts = json.loads(out)
    assert (code, facts["title"], facts["deepest"]) == (0, "Fresh idea", "centre")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", NAMES)
def test_every_name_gives_python_without_a_trace_of_the_template(name, template):
    text = starting_file(name, template)
    tree = ast.parse(text)
    for trace in ("my_method", "MyMethod", "My method", "my_backbone", "MyBackbone", "My backbone"):
        assert trace not in text
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert len(set(classes)) == len(classes) == 3
    assert not set(classes) & imported
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_templates_have_their_own_name(template):
    file = ROOT / "benchmark" / "contrabench" / "templates" / f"{template}.py"
    name = "my_" + template.rpartition("_")[2]
    assert starting_file(name, template) == file.read_text(encoding="utf-8")


def test_the_loss_trains_a_network(bench, tmp_path, cases):
    import torch

    from contrabench.data.bank import build_bank
    from contrabench.data.prepare import cases_of
    from contrabench.model.weights import build_backbone
    from contrabench.protocol import BackboneSpec, Phase, Seeds
    from contrabench.training.tasks import PretrainTask

    bench("methods", "new", "fresh_idea")
    discovery.add(tmp_path / "fresh_idea.py")
    method = registry.methods.get("fresh_idea")()
    (stage,) = method.stages()
    net = build_backbone(BackboneSpec(width=4), 0)
    torch.manual_seed(0)
    pool = [f"patient_{i:02d}" for i in range(6)]
    bank = build_bank(cases_of(cases, pool), None, ("axial",), torch.device("cpu"))
    phase = Phase(images=64, batch=16, lr=1e-3)
    task = PretrainTask(net, method.objective(stage, net), stage, bank, phase, Seeds())
    trained = [p for p in task.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3)
    batch, losses = task.batch(0, 0, 1), []
    for _ in range(10):
        result = task(batch)
        optimizer.zero_grad()
        result.loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in trained)
        optimizer.step()
        losses.append(result.loss.item())
    assert losses[-1] < losses[0]
    assert not result.logs["agreement"].requires_grad


@pytest.mark.parametrize("words", [[], ["--joint"]], ids=str)
def test_the_file_conforms(bench, tmp_path, words):
    from contrabench.testing import assert_conforms

    bench("methods", "new", "fresh_idea", *words)
    assert_conforms(tmp_path / "fresh_idea.py")


def test_the_term_of_the_joint_file_is_its_formula(bench, tmp_path, cases):
    """Of views of one geometry, with a teacher that follows the student."""
    import torch
    from tests.methods.conftest import joint_task, take_steps

    bench("methods", "new", "fresh_idea", "--joint")
    discovery.add(tmp_path / "fresh_idea.py")
    cls = registry.methods.get("fresh_idea")
    task = joint_task(cls(cls.Options(weight=1.0)), cases, batch=2)
    take_steps(task, 2)
    batch, student = task.batch(2, 0, 1), task.common.model
    weak, strong = (view.image for view in batch.streams[0].views)
    p = torch.softmax(student.logits(strong), 1).detach()
    q = torch.softmax(task.objective.teacher().logits(weak), 1)
    expected = sum(float((a - b) ** 2) for a, b in zip(p.flatten(), q.flatten(), strict=True))
    result = task(batch)
    assert result.logs["disagreement"].item() == pytest.approx(expected / p.numel(), rel=1e-4)
    assert task.objective.weight_at(1.0) == 1.0
    assert task.objective.weight_at(0.5) == pytest.approx(0.2865, abs=1e-4)


@pytest.mark.parametrize("words", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_file_is_clean(words, tmp_path):
    """By the rules of this repository, whose checks of types see the template itself."""
    ruff = shutil.which("ruff") or shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        pytest.skip("ruff is not installed")
    for name in NAMES:
        for template in TEMPLATES:
            (tmp_path / f"{template}_{name}.py").write_text(starting_file(name, template))
    config = ["--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [ruff, *words, *config, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-idea", "such as my_idea"),
        ("MyIdea", "such as myidea"),
        ("2nd", "a letter first"),
        ("_hidden", "such as hidden"),
        ("idée", "lower-case letters"),
        ("lambda", "cannot be the name"),
        ("", "cannot be the name"),
        ("a/b", "such as a_b"),
        ("a" * (LONGEST + 1), f"{LONGEST} at most"),
        ("simclr", "already (built-in)"),
        ("random", "Python module"),
        ("torch", "Python module"),
    ],
)
def test_a_wrong_name_is_one_line_and_code_2(bench, tmp_path, name, message):
    code, out, err = bench("methods", "new", name)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_backbone_that_is_there_keeps_its_name(bench, tmp_path):
    code, out, err = bench("backbones", "new", "resnet_unet")
    assert (code, out) == (2, "")
    assert "there is a backbone 'resnet_unet' already (built-in)" in err
    # A method's name is no backbone's.
    assert bench("backbones", "new", "simclr")[0] == 0
    assert [file.name for file in tmp_path.iterdir()] == ["simclr.py"]


def test_the_name_of_a_plug_in_is_taken_too(bench):
    bench("methods", "new", "fresh_idea")
    code, _, err = bench("methods", "new", "fresh_idea", "--out", "b", "--plugin", "fresh_idea.py")
    assert code == 2
    assert "fresh_idea.py:" in err
    assert not Path("b").exists()


def test_a_file_that_is_there_is_left_alone(bench, tmp_path):
    (tmp_path / "fresh_idea.py").write_text("mine\n")
    code, _, err = bench("methods", "new", "fresh_idea")
    assert code == 2
    assert "exists already" in err
    assert (tmp_path / "fresh_idea.py").read_text() == "mine\n"


def test_a_folder_that_cannot_be_made_is_one_line(bench, tmp_path):
    (tmp_path / "taken").write_text("")
    code, _, err = bench("methods", "new", "fresh_idea", "--out", "taken")
    assert code == 2
    assert "cannot be written" in err
    assert err.count("\n") == 1


def test_the_wheel_carries_the_template():
    """It lies in the package, of which a wheel takes every file."""
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    (package,) = build["targets"]["wheel"]["packages"]
    home = Path(importlib.import_module("contrabench").__file__).parent
    assert home == ROOT / package
    assert all((home / "templates" / f"{template}.py").is_file() for template in TEMPLATES)

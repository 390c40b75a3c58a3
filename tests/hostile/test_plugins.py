"""Plug-ins that cheat or are careless: refused by a run or by the kit, with a line that says so."""

from __future__ import annotations

import itertools
import os
import sys
from contextlib import contextmanager
from unittest import mock

import pytest
from tests.hostile.refusals import Refusal, refused

from contrabench import plugins
from contrabench.contracts import intact, registry

COUNT = itertools.count()
SOUND = """\
import os
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import contrabench.evaluation.inference as inference
from contrabench import Method, MethodInfo, Objective, Stage, StepResult, ViewSpec, Intensity
from contrabench import register_method
from contrabench.objectives.contrast import nt_xent
from contrabench.objectives.heads import GlobalHead

{top}


class Loss(Objective):
    def __init__(self, backbone):
        super().__init__()
        self.head = GlobalHead(backbone.channels["centre"], 32)
        {start}

    def after_step(self, backbone, progress):
        {after}

    def embed(self, backbone, image):
        return self.head(backbone.pooled(image, ("centre",))["centre"]).float()

    def forward(self, backbone, batch):
        first, second = (self.embed(backbone, view.image) for view in batch.views[:2])
        loss = nt_xent(first, second, 0.1)
        {loss}
        return StepResult(loss)


@register_method("{name}")
class Mine(Method):
    info = MethodInfo(title="T", family="contrast", paper="P", fidelity="official")

    def stages(self):
        return (Stage(name="one", {stage}),)

    def objective(self, stage, backbone):
        return Loss(backbone)
"""


def plugin(folder, top="", start="pass", loss="pass", after="pass", stage="", name=None):
    """Writes a plug-in that is sound but for what is put into it."""
    stem, text = f"hostile_{os.getpid()}_{next(COUNT)}", SOUND
    parts = {"top": top, "start": start, "loss": loss, "after": after, "stage": stage}
    for place, part in parts.items():
        text = text.replace(f"{{{place}}}", "\n        ".join(part.splitlines()))
    file = folder / f"{stem}.py"
    file.write_text(text.replace("{name}", name or stem))
    return file


def checked(**faults):
    """The kit, on a plug-in with a fault."""
    return lambda folder: ["methods", "check", str(plugin(folder, **faults))]


def run(file, name=None):
    """A run of a method of the plug-in, as short as there is one."""
    words = [
        "--labels",
        "50%",
        "--folds",
        "2",
        "--fold",
        "0",
        "--budget",
        "smoke",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    dataset = ["--dataset", "phantom", "-d", "patients=4"]
    return ["run", "--method", name or file.stem, "--plugin", str(file), *words, *dataset]


def ran(**faults):
    """A run of a plug-in with a fault."""
    return lambda folder: run(plugin(folder, **faults))


def written(text, file="mine_{}.py"):
    """The kit, on a file of some text."""

    def make(folder):
        path = folder / file.format(f"{os.getpid()}_{next(COUNT)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return ["methods", "check", str(path)]

    return make


OWN = """\
from contrabench import Loss, LossInfo, Metric, MetricInfo, register_loss, register_metric


@register_loss("{name}")
class Own(Loss):
    info = LossInfo(title="T", source="S")

    def forward(self, logits, target):
        {loss}
        return value


@register_metric("{name}")
class Other(Metric):
    info = MetricInfo(title="T", source="S")

    def score(self, prediction, reference, spacing):
        return {score}
"""


def beside(loss, score, flag):
    """A run from scratch with a loss or a metric of one's own."""

    def make(folder):
        file = folder / f"hostile_{os.getpid()}_{next(COUNT)}.py"
        text = OWN.replace("{name}", file.stem).replace("{loss}", loss).replace("{score}", score)
        file.write_text(text)
        return [*run(file, "scratch"), flag, file.stem]

    return make


def two_of_a_name(folder):
    for home in ("a", "b"):
        (folder / home).mkdir()
        (folder / home / "twice.py").write_text("x = 1\n")
    both = [word for home in ("a", "b") for word in ("--plugin", str(folder / home / "twice.py"))]
    return ["run", "--method", "scratch", "--labels", "50%", "--budget", "smoke", *both]


def reads_a_file(folder):
    (folder / "constants.json").write_text("0.5")
    read = "loss = loss * float((Path(__file__).parent / 'constants.json').read_text())"
    return checked(loss=read)(folder)


STEPS = "optimizer = torch.optim.SGD(backbone.parameters(), 0.1)\n"
AFTER = "for weight in backbone.part('enc1').parameters(): weight.mul_(0.999)"
HIDDEN = "self.hidden = [nn.Parameter(torch.ones(32))]"
NOISE = """\
weights = [p for p in backbone.parameters() if p.requires_grad]
loss = loss.detach() + sum((torch.randn_like(p) * p).sum() for p in weights)"""
TEN = """\
more = [batch.views[0].image.roll(k, 2) for k in range(10)]
loss = loss + sum(nt_xent(first, self.embed(backbone, image), 0.1) for image in more)"""
NEAR = """\
views=(ViewSpec(spatial=None, intensity=None), ViewSpec(spatial=None, intensity=Intensity(
    brightness_sd=1e-6, contrast=(1, 1), gamma=(1, 1), noise_sd=0, blur_px=0)))"""
SAME = "views=(ViewSpec(spatial=None, intensity=None), ViewSpec(spatial=None, intensity=None))"

REFUSALS = [
    Refusal("a loss that takes optimiser steps of its own", checked(
        loss=STEPS + "loss.backward(retain_graph=True); optimizer.step()"),
        "optimiser steps of its own|weights of the network were changed", 1),
    Refusal("a loss that writes to the weights behind autograd's back", checked(
        loss="next(p for p in backbone.parameters() if p.requires_grad).data.mul_(0.99)"),
        "weights of the network were changed", 1),
    Refusal("a hook after the step that moves the network", checked(after=AFTER),
            "weights of the network were changed after the step", 1),
    Refusal("a head whose weights are hidden from the engine", checked(
        start=HIDDEN, loss="loss = loss + (first * self.hidden[0]).mean()"),
        "no optimiser holds", 1),
    Refusal("ten views where two are declared", checked(loss=TEN), "are declared", 1),
    Refusal("two views that are the same", checked(stage=SAME), "are identical", 1),
    Refusal("two views that differ by a millionth", checked(stage=NEAR), "differ by", 1),
    Refusal("a loss whose gradient is noise", checked(loss=NOISE), "whatever the images show", 1),
    Refusal("a loss that does not look at the images", checked(
        loss="loss = next(self.parameters()).square().sum()"),
        "whatever the images show", 1),
    Refusal("masks in a stage that declares none", checked(
        loss="loss = loss + 0 * batch.views[0].label.float().mean()"), "labels=False", 1),
    Refusal("masks that are declared and not used", checked(stage="labels=True"),
            "other masks give the same loss", 1),
    Refusal("labelled slices in a stage without labels", checked(
        stage="labelled_slices_only=True"), "labelled slices only", 1),
    Refusal("a loss that is not finite", checked(loss="loss = loss * float('nan')"), "is nan", 1),
    Refusal("a file read while it runs", reads_a_file, r"reads constants\.json \(sha \w+\)", 1),
    Refusal("a variable of the environment read while it runs", checked(
        loss="loss = loss * float(os.environ.get('MY_TAU', '0.1'))"),
        r"reads MY_TAU=0\.5 while it runs", 1, {"MY_TAU": "0.5"}),
    Refusal("torch's settings changed while it runs", checked(
        loss="torch.use_deterministic_algorithms(True)"),
        "are_deterministic_algorithms_enabled", 1),
    Refusal("torch's default type changed at import", checked(
        top="torch.set_default_dtype(torch.float64)"), "get_default_dtype", 1),
    Refusal("a function of the engine replaced at import", ran(
        top="inference.predict_slices = lambda *_: None"),
        r"inference\.predict_slices is no longer the engine's: hostile", 1),
    Refusal("torch's random numbers replaced at import", checked(
        top="torch.manual_seed = lambda seed: None"),
        r"torch\.manual_seed is no longer the library's: hostile", 1),
    Refusal("a hook on every module, set at import", checked(
        top="nn.modules.module.register_module_forward_hook(lambda *_: None)"),
        "global forward hooks", 1),
    Refusal("a plug-in with the name of a built-in", lambda folder: run(
        plugin(folder, name="simclr"), "simclr"), "two methods are called 'simclr'"),
    Refusal("a fine-tuning loss that teaches what lies outside of the slice", beside(
        "value = logits.square().mean()", "1.0", "--loss"), "structures to pixels to be ignored"),
    Refusal("a metric that gives no number", beside(
        "value = logits.sum()", "float('nan')", "--metrics"), "what is trained is kept", 1),
    Refusal("a plug-in that ends the program", written("import sys\nsys.exit(3)\n"), "SystemExit"),
    Refusal("a plug-in that is no Python", written("def (:\n"), "cannot be used: SyntaxError"),
    Refusal("a file without a method", written("x = 1\n"), "registers no method"),
    Refusal("a name that is no identifier", written("x = 1\n", "a-b{}.py"), "rename it"),
    Refusal("a plug-in that is not there", lambda folder: [
        "methods", "check", str(folder / "absent.py")], "does not exist"),
    Refusal("two plug-ins of one name", two_of_a_name, "two plug-ins are called 'twice'"),
]  # fmt: skip


@contextmanager
def alone():
    """What a plug-in has left in this process is gone when its row has ended."""
    known, changed = dict(registry.methods._registered), dict(intact._changed)
    homes = set(intact._homes)
    with (
        mock.patch.dict(os.environ, CONTRABENCH_PLUGINS=""),
        mock.patch.object(plugins, "__path__", list(plugins.__path__)),
    ):
        yield
    for name in [one for one in sys.modules if one.startswith("contrabench.plugins.")]:
        del sys.modules[name]
    for kind in (registry.losses, registry.metrics):
        for name in [one for one in kind._registered if one.startswith("hostile_")]:
            del kind._registered[name]
    ours = {
        name: one
        for name, one in registry.methods._registered.items()
        if name in known or not one.value.__module__.startswith("contrabench.plugins.")
    }
    for held, before in (
        (registry.methods._registered, ours),
        (registry.methods._collisions, {}),
        (intact._changed, changed),
    ):
        held.clear()
        held.update(before)
    intact._homes.intersection_update(homes)


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.what)
def test_refused(case, tmp_path):
    with alone():
        refused(case, tmp_path)

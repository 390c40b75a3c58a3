import pytest
import torch
from tests.makers.studies import RUNTIME, TINY

from contrabench.contracts import registry
from contrabench.contracts.method import Method, MethodInfo, Stage
from contrabench.contracts.objective import Objective, StepResult
from contrabench.errors import RequestError
from contrabench.inspection.profile import Times, _Bench, profile_stage
from contrabench.protocol import ENCODER
from contrabench.training.runtime import Runtime


class Plain(Objective):
    """Nothing but the bare pass on both views, with a head and a buffer of known size."""

    def __init__(self, tap, calls=1):
        super().__init__()
        self.tap, self.calls = tap, calls
        self.scale = torch.nn.Parameter(torch.ones(5))
        self.register_buffer("memory", torch.zeros(7))

    def forward(self, backbone, batch):
        maps = [
            backbone.features(view.image, (self.tap,))[self.tap]
            for view in batch.views
            for _ in range(self.calls)
        ]
        return StepResult(sum(m.mean() for m in maps) * self.scale.sum())


class PlainMethod(Method):
    info = MethodInfo(title="plain", family="test", paper="none", fidelity="reconstruction")

    def __init__(self, trains=ENCODER, tap="centre", calls=1):
        super().__init__()
        self.stage, self.tap, self.calls = Stage(name="only", trains=trains), tap, calls

    def stages(self):
        return (self.stage,)

    def objective(self, stage, backbone):
        return Plain(self.tap, self.calls)


def measure(method, budget=TINY, runtime=RUNTIME, steps=2):
    return profile_stage(method, method.stages()[0], budget, runtime, steps)


def test_quartiles():
    assert Times.of([0.4]) == Times(0.4, 0.4, 0.4)
    assert Times.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Times(3.0, 2.0, 4.0)


def test_an_objective_that_is_the_bare_pass_has_its_operations():
    found = measure(PlainMethod())
    assert found.flops == found.bare_flops > 0
    assert (found.passes, found.gradients) == (32, 32)
    assert measure(PlainMethod(calls=2)).flops == 2 * found.flops


def test_operations_of_a_first_convolution_by_hand():
    """Two 3 x 3 convolutions, 1 to 4 and 4 to 4 channels, on 2 x 16 images of 32 x 32."""
    found = measure(PlainMethod(trains=("enc1",), tap="enc1"))
    pixels = 2 * 16 * 32 * 32
    first, second = 2 * pixels * 9 * 1 * 4, 2 * pixels * 9 * 4 * 4
    # Backward: gradients of both weights, and of the second's input alone.
    assert found.flops == 2 * first + 3 * second


def test_parameters_and_state_are_told_apart():
    found = measure(PlainMethod(trains=("enc1",), tap="enc1"))
    assert (found.head_parameters, found.state_values) == (5, 7)
    # Two convolutions without bias, and scale and shift of two normalisations.
    assert found.backbone_parameters == 9 * 4 + 9 * 16 + 4 * 4


def test_the_bare_step_makes_the_passes_that_the_method_makes():
    """Through the momentum copy nothing leads back; a query and a key a slice."""
    method = registry.methods.get("moco")()
    found = profile_stage(method, method.stages()[0], TINY, RUNTIME, 1)
    assert (found.passes, found.gradients) == (2 * found.batch, found.batch)
    assert 0 < found.bare_flops < found.flops


class Asking(Plain):
    """Looks at its loss in every step."""

    def forward(self, backbone, batch):
        found = super().forward(backbone, batch)
        return StepResult(found.loss * (1 if found.loss > 0 else 2))


def test_operations_and_waits_are_counted(monkeypatch):
    once, twice = (measure(PlainMethod(calls=calls)) for calls in (1, 2))
    assert once.operations > 100
    # The gradients of two passes have to be added as well.
    assert twice.operations == pytest.approx(2 * once.operations, rel=0.1)
    assert once.waits == twice.waits == 0
    monkeypatch.setattr(PlainMethod, "objective", lambda *_: Asking("centre"))
    assert measure(PlainMethod()).waits == 1


def test_heads_alone_are_beside_a_pass_without_a_gradient():
    found = measure(PlainMethod(trains=()))
    assert (found.passes, found.gradients, found.backbone_parameters) == (32, 0, 0)


def test_what_is_kept_grows_with_the_batch_and_holds_no_weights():
    half = TINY.model_copy(update={"pretrain": TINY.pretrain.model_copy(update={"batch": 8})})
    small, large = (measure(PlainMethod(), budget).saved_mb for budget in (half, TINY))
    assert large == pytest.approx(2 * small, rel=0.02)
    assert measure(PlainMethod(calls=2)).saved_mb > 1.8 * large


def test_times_fit_together():
    found = measure(PlainMethod(), steps=3)
    assert 0 < found.views.median < found.step.high
    assert found.ratio.median > 0
    assert found.slices_per_second == pytest.approx(16 / found.step.median)
    assert found.images == 32
    assert found.peak_mb is None
    told = found.as_dict()
    assert told["ratio"]["median"] == found.ratio.median
    assert told["step"]["median"] == found.step.median


def test_the_ratio_pairs_each_step_with_the_bare_pass_beside_it(monkeypatch):
    """On a machine that slows down the pairs still say 2, 3 and 4; the warm-up does not count."""
    taken = iter([9.0] * 9 + [2.0, 0.1, 1.0, 6.0, 0.1, 2.0, 40.0, 0.1, 10.0])
    monkeypatch.setattr("contrabench.inspection.profile._Bench.timed", lambda *_: next(taken))
    found = measure(PlainMethod(), steps=3)
    assert (found.ratio.low, found.ratio.median, found.ratio.high) == (2.5, 3.0, 3.5)
    assert (found.step.median, found.bare.median) == (6.0, 2.0)


def test_bf16_runs():
    runtime = Runtime(device="cpu", precision="bf16", threads=1)
    assert measure(PlainMethod(), runtime=runtime, steps=1).flops == measure(PlainMethod()).flops


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_the_optimiser_is_the_budgets(name, kind):
    phase = TINY.pretrain.model_copy(update={"optimizer": name})
    budget, method = TINY.model_copy(update={"pretrain": phase}), PlainMethod()
    assert type(_Bench(method, method.stage, budget, RUNTIME, 1).optimizer) is kind
    assert measure(method, budget, steps=1).step.median > 0


def test_no_steps_are_refused():
    with pytest.raises(RequestError, match="--steps"):
        measure(PlainMethod(), steps=0)


def test_a_built_in_of_two_stages_with_labels():
    method = registry.methods.get("hu")()
    first, second = (profile_stage(method, s, TINY, RUNTIME, 1) for s in method.stages())
    assert (first.stage, second.stage) == tuple(stage.name for stage in method.stages())
    assert first.bare_flops < second.bare_flops


def test_a_joint_stage_beside_the_bare_passes_of_all_its_slices():
    """MixUp passes the labelled slices once, and does nothing but that, its heads apart."""
    method = registry.methods.get("mixup")()
    found = profile_stage(method, method.joint_stages()[0], TINY, RUNTIME, 1)
    assert (found.batch, found.images, found.passes) == (16, 16, 16)
    # One 1 x 1 convolution of 4 channels to 3 classes, forward and back to both of its inputs.
    head = 3 * 2 * 16 * 32 * 32 * 4 * 3
    assert found.flops == found.bare_flops + head
    assert (found.head_parameters, found.state_values) == (0, 0)


def test_a_joint_stage_counts_the_slices_and_views_of_its_streams():
    method = registry.methods.get("unimatch")()
    found = profile_stage(method, method.joint_stages()[0], TINY, RUNTIME, 1)
    # Sixteen labelled slices, and as many others in a weak and two strong views.
    assert (found.batch, found.images) == (32, 64)
    cps = registry.methods.get("cps")()
    found = profile_stage(cps, cps.joint_stages()[0], TINY, RUNTIME, 1)
    # The second network has as many parameters as the first with its heads.
    assert found.head_parameters == found.backbone_parameters
    # Both networks make the bare step.
    assert found.bare_flops < found.flops == pytest.approx(found.bare_flops, rel=0.05)

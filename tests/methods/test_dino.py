"""DINO: its loss as a loop and as lightly has it, the centre, the teacher, and the last layer."""

import copy
import math

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry

from .conftest import agree, batch_normed, exactly, pretrain_task

cls = registry.methods.get("dino")
module = __import__(cls.__module__, fromlist=["x"])


def make(cases, batch=8, net=None, **options):
    """On a network that normalises the batch, as the paper's ResNet does, or on another one."""
    method = cls(cls.Options(outputs=12, **options))
    return pretrain_task(method, cases, batch, net=net or batch_normed()).double()


def train(task, steps, start=0, parts=1, decay=0.0):
    """As the loop does it; yields the loss and the logs after every step."""
    weights = [p for p in task.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.05, weight_decay=decay)
    for step in range(start, start + steps):
        optimizer.zero_grad(set_to_none=True)
        for part in range(parts):
            result = task(exactly(task.batch(step, part, parts)))
            (result.loss / parts).backward()
        optimizer.step()
        task.after_step((step + 1) / 10)
        yield result


def literal(teacher, student, centre, sharp, tau):
    """Every output of every slice, for every pair of a full view and another view."""
    terms = []
    for t, said in enumerate(teacher):
        for v, heard in enumerate(student):
            if v == t:
                continue
            for a, b in zip(said, heard, strict=True):
                q = [math.exp((x - c) / sharp) for x, c in zip(a.tolist(), centre, strict=True)]
                total = sum(torch.exp(x / tau) for x in b)
                p = [torch.exp(x / tau) / total for x in b]
                terms.append(-sum(x / sum(q) * torch.log(y) for x, y in zip(q, p, strict=True)))
    return sum(terms) / len(terms)


def outputs(seed, views, rows, count):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, count, generator=generator).double() for _ in range(views)]


@pytest.mark.parametrize(("views", "rows", "count"), [(2, 4, 3), (5, 2, 6), (3, 1, 2)])
def test_loss(views, rows, count):
    teacher = outputs(1, 2, rows, count)
    student = [each.requires_grad_() for each in outputs(2, views, rows, count)]
    centre = torch.linspace(-0.3, 0.4, count).double()
    found = module.distillation(teacher, student, centre, 0.3, 0.5)
    agree(found, literal(teacher, student, centre.tolist(), 0.3, 0.5), student)


def test_lightly_agrees_on_the_loss_and_on_the_centre(cases):
    from lightly.loss import DINOLoss

    teacher, student = outputs(3, 2, 4, 12), outputs(4, 5, 4, 12)
    theirs = DINOLoss(12, teacher_temp=0.04, student_temp=0.1).double()
    task = make(cases, centre_momentum=0.9)
    for _ in range(2):
        found = module.distillation(teacher, student, task.objective.centre, 0.04, 0.1)
        assert float(found) == pytest.approx(float(theirs(teacher, student)), rel=1e-6)
        task.objective._seen = [torch.cat(teacher).mean(dim=0)]
        task.after_step(0.1)
        torch.testing.assert_close(task.objective.centre, theirs.center.flatten())


def test_an_even_student_costs_log_k():
    for count in (2, 7, 1024):
        even = torch.full((3, count), 0.7).double()
        loss = module.distillation(outputs(0, 2, 3, count), [even] * 4, torch.zeros(count), 0.04, 1)
        assert float(loss) == pytest.approx(math.log(count), rel=1e-5)


def test_two_views_have_two_terms_and_none_with_themselves():
    first, second = (10 * functional.one_hot(torch.tensor([k]), 3).double() for k in (0, 1))
    alone = torch.zeros(3).double()
    # A student that echoes its own view is as wrong as can be; one that tells the other's, right.
    echo = module.distillation([first, second], [first, second], alone, 0.1, 1)
    told = module.distillation([first, second], [second, first], alone, 0.1, 1)
    rest = math.log(1 + 2 * math.exp(-10))
    assert float(told) == pytest.approx(rest, rel=1e-6)
    assert float(echo) == pytest.approx(rest + 10, rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"small_crops": 0, "batch_norm": True}])
def test_steps_by_hand(cases, options):
    """The student learns, the teacher and the centre follow it."""
    task = make(cases, 4, momentum=0.6, frozen=0, **options)
    student = copy.deepcopy(torch.nn.ModuleList([task.backbone, task.objective.head]))
    teacher = copy.deepcopy(student)
    learnt = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learnt, lr=0.05)
    centre, expected = torch.zeros(12).double(), []

    def told(pair, images):
        net, head = pair
        groups = [torch.cat(images[a:b]) for a, b in ((0, 2), (2, None)) if images[a:b]]
        maps = [net.features(group, ("centre",))["centre"].mean((2, 3)) for group in groups]
        points = head.layers(torch.cat(maps))
        rows = head.last.weight
        cosines = [
            torch.stack([functional.cosine_similarity(z, row, dim=0) for row in rows])
            for z in points
        ]
        return torch.stack(cosines).chunk(len(images))

    for step in range(3):
        images = [view.image for view in exactly(task.batch(step, 0, 1)).views]
        with torch.no_grad():
            said = told(teacher, images[:2])
        loss = literal(said, told(student, images), centre.tolist(), 0.04, 0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        centre = 0.9 * centre + 0.1 * torch.cat(said).mean(dim=0)
        keep = 1 - 0.4 * (math.cos(math.pi * (step + 1) / 10) + 1) / 2
        with torch.no_grad():
            for a, b in zip(teacher.parameters(), student.parameters(), strict=True):
                a.copy_(keep * a + (1 - keep) * b)
        expected.append(loss.item())
    found = [result.loss.item() for result in train(task, 3)]
    assert found == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(task.objective.centre, centre)


def test_the_head_is_the_papers_unless_told_otherwise(cases):
    def kinds(task):
        return [
            type(layer).__name__ for layer in task.objective.head.layers if any(layer.state_dict())
        ]

    assert kinds(make(cases)) == ["Linear"] * 3
    normed = kinds(make(cases, batch_norm=True))
    assert normed == ["Linear", "BatchNorm1d", "Linear", "BatchNorm1d", "Linear"]


def test_the_centre_moves_once_a_step_by_all_its_micro_batches(cases):
    # A head without batch normalisation tells the same of a slice in any company.
    whole, parted = make(cases), make(cases)
    seen = []
    whole.objective.teacher_head.copied.register_forward_hook(lambda *a: seen.append(a[2]))
    next(train(whole, 1))
    torch.testing.assert_close(whole.objective.centre, 0.1 * seen[0].mean(dim=0))
    seen.clear()
    parted.objective.teacher_head.copied.register_forward_hook(lambda *a: seen.append(a[2]))
    next(train(parted, 1, parts=2))
    torch.testing.assert_close(parted.objective.centre, 0.1 * torch.cat(seen).mean(dim=0))


def test_a_loss_looked_at_twice_is_the_same(cases):
    task = make(cases)
    batch = exactly(task.batch(0, 0, 1))
    assert task(batch).loss.item() == task(batch).loss.item()


def test_the_teacher_gets_no_gradient_and_stands_still_at_the_end(cases):
    task = make(cases)
    for _ in train(task, 1):
        pass
    assert all(value.grad is None and not value.requires_grad for value in task.objective.buffers())
    teacher = [task.objective.teacher_backbone, task.objective.teacher_head]
    before = [copy.deepcopy(each.state_dict()) for each in teacher]
    task.after_step(1.0)
    for each, state in zip(teacher, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in each.state_dict().items())


def test_the_last_layer_waits_whatever_the_decay(cases):
    task = make(cases, frozen=0.3)
    start = task.objective.head.last.weight.detach().clone()
    for done, _ in enumerate(train(task, 5, decay=0.1), start=1):
        assert torch.equal(task.objective.head.last.weight, start) == (done <= 3)


def test_the_logs_tell_both_collapses_from_a_spread(cases):
    single = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    assert float(module.evenness(torch.full((3, 4), 0.25))) == pytest.approx(1)
    assert float(module.evenness(single)) == 0
    assert float(module.evenness(torch.tensor([0.5, 0.5, 0, 0]))) == pytest.approx(0.5)
    task = make(cases)
    logs = task(exactly(task.batch(0, 0, 1))).logs
    assert 0 < float(logs["entropy"]) < float(logs["entropy_of_mean"]) <= 1


def test_a_resumed_run_ends_in_the_same_bits(cases):
    expected = [result.loss.item() for result in train(make(cases, frozen=0.2), 4)]
    broken = make(cases, frozen=0.2)
    list(train(broken, 2))
    resumed = make(cases, frozen=0.2)
    resumed.load_state_dict(broken.state_dict())
    assert [r.loss.item() for r in train(resumed, 2, start=2)] == expected[2:]


def test_crops_are_half_as_wide_and_their_number_an_option():
    views = cls(cls.Options(small_crops=3)).stages()[0].views
    assert [view.scale for view in views] == [1, 1, 0.5, 0.5, 0.5]
    assert [view.intensity.blur_px for view in views] == [1, 0, 1, 1, 1]
    assert views[2].spatial.crop_area[1] <= views[0].spatial.crop_area[0]


def test_published_settings_are_options_of_stages_that_exist():
    options = cls.Options.model_validate(cls.published.options)
    assert (options.small_crops, options.momentum) == (8, 0.996)
    assert set(cls.published.stages) == {stage.name for stage in cls(options).stages()}

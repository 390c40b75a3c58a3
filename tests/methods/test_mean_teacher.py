"""Mean teacher: its term as a loop, its noise, and the cases in which it is nothing."""

import pytest
import torch

from contrabench.contracts import registry

from .conftest import agree, exactly, image_normed, joint_task, take_steps

cls = registry.methods.get("mean_teacher")
module = __import__(cls.__module__, fromlist=["x"])


def make_task(cases, **options):
    return joint_task(cls(cls.Options(**options)), cases)


def literal(student, teacher):
    """Probabilities by hand, squares summed over pixels and classes and divided by their number."""
    total, number = 0, 0
    for b in range(len(student)):
        for h in range(student.shape[2]):
            for w in range(student.shape[3]):
                p, q = (each[b, :, h, w].exp() for each in (student, teacher))
                for c in range(student.shape[1]):
                    total = total + (p[c] / p.sum() - q[c] / q.sum()) ** 2
                    number += 1
    return total / number


@pytest.mark.parametrize("classes", [2, 4])
def test_disagreement(classes):
    torch.manual_seed(classes)
    student = torch.randn(2, classes, 3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, classes, 3, 4, dtype=torch.float64)
    agree(module.disagreement(student, teacher), literal(student, teacher), [student])


def seen_by(network, forward):
    """The images that a network is given while something runs."""
    images = []
    hook = network.backbone.register_forward_pre_hook(lambda _, given: images.append(given[0]))
    forward()
    hook.remove()
    return images


def test_the_term_of_a_step_is_that_of_student_and_noisy_teacher(cases):
    task = make_task(cases, noise=0.5).double()
    move_away(task)
    batch, student = exactly(task.batch(2, 0, 1)), task.common.model
    teacher = task.objective.average
    (noisy,) = seen_by(teacher.copied, lambda: task(batch))
    image = batch.streams[0].views[0].image
    noise = noisy - image
    assert float(noise.abs().max()) == pytest.approx(1.0)
    inside = noise.abs() < 1 - 1e-6
    assert float(noise[inside].std()) == pytest.approx(0.44, abs=0.02)
    # Of a normal deviate 4.55 % lie beyond two deviations.
    assert float(inside.double().mean()) == pytest.approx(0.9545, abs=0.01)
    expected = module.disagreement(student.logits(image), teacher.logits(noisy))
    own = task.common(batch.labelled).loss
    found = task(batch).loss
    assert found.item() == pytest.approx((own + task.objective.weight_at(2 / 8) * expected).item())
    (again,) = seen_by(teacher.copied, lambda: task(batch))
    assert torch.equal(noisy, again)
    other = exactly(task.batch(3, 0, 1))
    (another,) = seen_by(teacher.copied, lambda: task(other))
    assert not torch.equal(another - other.streams[0].views[0].image, noise)


def move_away(task):
    """Moves the student away from its teacher."""
    with torch.no_grad():
        for weight in task.common.model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))


def test_a_teacher_that_is_the_student_without_noise_disagrees_nowhere(cases):
    """In every step, where layers are normalised by image: a batch would tell the two apart."""
    options = cls.Options(keep=0.0, noise=0.0)
    task = joint_task(cls(options), cases, net=image_normed())
    for step in range(3):
        result = task(task.batch(step, 0, 1))
        assert result.logs["disagreement"].item() == 0
        take_steps(task, 1, start=step)
    assert make_task(cases, noise=0.1)(task.batch(0, 0, 1)).logs["disagreement"] > 0


def test_the_weight_rises_to_its_end(cases):
    weight = make_task(cases, weight=0.3).objective.weight_at
    assert weight(0) == pytest.approx(0.3 * 0.00674, rel=1e-3)
    assert weight(0.5) == pytest.approx(0.3 * 0.2865, rel=1e-3)
    assert weight(1) == 0.3
    assert make_task(cases, weight=0.3, ramp=0.25).objective.weight_at(0.25) == 0.3
    assert make_task(cases).objective.weight_at(1) == 0.2

"""PCL against its definition."""

import pytest
import torch

from contrabench.contracts import registry
from contrabench.objectives.contrast import near, position_contrast

from .conftest import agree, pretrain_task

method_class = registry.methods.get("pcl")


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def literal(first, second, numbers, depths, threshold, tau):
    """The loss from slice numbers and numbers of slices, anchor by anchor."""
    z = torch.cat((first, second))
    count = len(numbers)
    places = [n / d for n, d in zip(numbers, depths, strict=True)] * 2
    total = 0
    for i in range(2 * count):
        positives = [
            j for j in range(2 * count) if j != i and abs(places[j] - places[i]) < threshold
        ]
        assert (i + count) % (2 * count) in positives
        below = sum(torch.exp(cosine(z[i], z[a]) / tau) for a in range(2 * count) if a != i)
        logs = [torch.log(torch.exp(cosine(z[i], z[j]) / tau) / below) for j in positives]
        total = total - tau / 0.07 * sum(logs) / len(logs)
    return total / (2 * count)


CASES = {
    "several volumes": ([3, 9, 4, 11, 30, 2], [30, 24, 31, 24, 30, 17]),
    "one slice per volume": ([1, 1, 1, 1], [1, 1, 1, 1]),
    "the same slice twice": ([5, 5, 9, 20], [20, 20, 20, 20]),
    "all far apart": ([1, 5, 9], [10, 10, 10]),
    "batch of two": ([3, 4], [9, 9]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("threshold", [0.07, 0.36])
def test_the_loss(case, threshold):
    torch.manual_seed(0)
    numbers, depths = CASES[case]
    first, second = (
        torch.randn(len(numbers), 5, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    related = near(torch.tensor(numbers) / torch.tensor(depths), threshold)
    found = position_contrast(first, second, related, 0.1)
    wanted = literal(first, second, numbers, depths, threshold, 0.1)
    agree(found, wanted, (first, second))


def task(cases, orientations=("axial",), batch=8, **options):
    method = method_class(method_class.Options(**options))
    return pretrain_task(method, cases, batch, patients=4, orientations=orientations)


@pytest.mark.parametrize("batch", [2, 8])
def test_the_objective_contrasts_by_the_slices_positions(cases, batch):
    item = task(cases, batch=batch, threshold=0.3, temperature=0.2)
    drawn = item.batch(0, 0, 1)
    first, second = (
        item.objective.head(item.backbone.pooled(view.image, ("centre",))["centre"])
        for view in drawn.views
    )
    numbers = (drawn.info.position * 6).round().int().tolist()
    wanted = literal(first, second, numbers, [6] * batch, 0.3, 0.2)
    assert item(drawn).loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_in_a_stack_of_ten_slices_the_authors_threshold_has_three_neighbours_and_the_usual_none():
    positions = torch.arange(1, 11) / 10
    for threshold, reach in ((0.35, 3), (method_class.Options().threshold, 0)):
        numbers = range(10)
        wanted = [[abs(a - b) <= reach for a in numbers] for b in numbers]
        assert near(positions, threshold).tolist() == wanted


@pytest.mark.parametrize(
    ("name", "option", "values"),
    [
        ("pcl", "threshold", ("0.1 for whole hearts", "0.35 for short-axis stacks")),
        ("macl", "threshold", ("0.1 for whole hearts", "0.05 for brains", "0.35 in PCL")),
        ("self_paced", "partitions", ("8 for whole hearts", "3 for short-axis stacks")),
    ],
)
def test_an_option_that_authors_set_by_the_data_tells_each_value(name, option, values):
    method = registry.methods.get(name)
    told = method.Options.model_fields[option].description
    assert all(value in told for value in values)
    assert any(f"give {option}=" in line for line in method.info.inferred)


def test_slices_of_two_orientations_are_never_near(cases):
    item = task(cases, orientations=("axial", "coronal"), batch=32, threshold=1.0)
    drawn = item.batch(0, 0, 1)
    assert len(set(drawn.info.orientation.tolist())) == 2
    first, second = (
        item.objective.head(item.backbone.pooled(view.image, ("centre",))["centre"])
        for view in drawn.views
    )
    side = drawn.info.orientation
    wanted = position_contrast(
        first, second, near(drawn.info.position, 1.0) & (side[:, None] == side), 0.1
    )
    assert torch.equal(item(drawn).loss, wanted)


def test_it_trains_the_encoder_alone(cases):
    item = task(cases)
    item(item.batch(0, 0, 1)).loss.backward()
    moved = {
        name.split(".")[0] for name, p in item.backbone.named_parameters() if p.grad is not None
    }
    assert moved == {"enc1", "enc2", "enc3", "enc4", "centre"}

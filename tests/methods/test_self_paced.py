"""Self-paced contrast against its definition, and how its age grows."""

import math

import pytest
import torch

from contrabench import RequestError
from contrabench.contracts import registry
from contrabench.objectives.contrast import both_views, mean_over_positives, pair_losses, same

from .conftest import pretrain_task

method_class = registry.methods.get("self_paced")
module = __import__(method_class.__module__, fromlist=["x"])
TAU = 0.07


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def weight(loss, gamma, pace):
    """w of the paper, a plain number."""
    if pace == "hard":
        return 1.0 if loss <= gamma else 0.0
    return max(1 - loss / gamma, 0.0)


def regulariser(w, gamma, pace):
    return gamma * (1 - w) if pace == "hard" else gamma * (1 - w) ** 2 / 2


def literal(z, labels, gamma, pace, tau=TAU):
    """(value, its gradient without R), with the weights held fixed as the authors hold them."""
    value, weighted = 0, 0
    for i in range(len(z)):
        positives = [j for j in range(len(z)) if j != i and labels[j] == labels[i]]
        below = sum(torch.exp(cosine(z[i], z[a]) / tau) for a in range(len(z)) if a != i)
        for j in positives:
            loss = -torch.log(torch.exp(cosine(z[i], z[j]) / tau) / below)
            w = weight(loss.item(), gamma, pace)
            term = w * loss
            value = value + (term + regulariser(w, gamma, pace)) / len(positives) / len(z)
            weighted = weighted + term / len(positives) / len(z)
    return value, torch.autograd.grad(weighted, z)[0]


LABELS = {
    "two classes": [0, 1, 0, 1],
    "ragged": [0, 0, 0, 5, 2],
    "all of one": [3, 3, 3],
    "none shared": [0, 1, 2],
    "batch of two": [0, 1],
    "a batch of one": [4],
}


@pytest.mark.parametrize("case", LABELS)
@pytest.mark.parametrize("pace", ["hard", "linear"])
@pytest.mark.parametrize("gamma", [0.5, 6.0, 1e6])
def test_value_and_gradient(case, pace, gamma):
    labels = torch.tensor(LABELS[case])
    torch.manual_seed(len(labels))
    z = torch.randn(2 * len(labels), 6, dtype=torch.float64, requires_grad=True)
    losses = module.paced(pair_losses(z, TAU), gamma, pace)
    found = mean_over_positives(losses, both_views(same(labels)))
    value, gradient = literal(z, labels.tolist() * 2, gamma, pace)
    assert found.item() == pytest.approx(value.item(), rel=1e-6, abs=1e-9)
    torch.testing.assert_close(torch.autograd.grad(found, z)[0], gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("pace", ["hard", "linear"])
def test_the_weights_are_the_best_there_are(pace):
    """No other weight in [0, 1] gives a smaller w l + R(w)."""
    losses, gamma = torch.linspace(0, 9, 37, dtype=torch.float64), 4.0
    w = torch.linspace(0, 1, 1001, dtype=torch.float64)
    every = w * losses[:, None] + regulariser(w, gamma, pace)
    torch.testing.assert_close(
        module.paced(losses, gamma, pace), every.min(dim=1).values, rtol=1e-5, atol=1e-5
    )
    best = module.share(losses, gamma, pace)
    term = best * losses + regulariser(best, gamma, pace)
    torch.testing.assert_close(module.paced(losses, gamma, pace), term)


@pytest.mark.parametrize("pace", ["hard", "linear"])
def test_with_age_it_becomes_plain_contrast(pace):
    torch.manual_seed(0)
    losses = pair_losses(torch.randn(10, 4, dtype=torch.float64), TAU)
    torch.testing.assert_close(module.paced(losses, 1e9, pace), losses, rtol=1e-6, atol=1e-6)


def test_pairs_that_are_too_hard_pull_at_nothing():
    z = torch.randn(6, 4, requires_grad=True)
    loss = mean_over_positives(
        module.paced(pair_losses(z, TAU), 1e-6, "hard"), both_views(torch.eye(3).bool())
    )
    loss.backward()
    assert torch.equal(z.grad, torch.zeros_like(z))


def task(cases, batch=16, **options):
    method = method_class(method_class.Options(**options))
    return pretrain_task(method, cases, batch, patients=4, orientations=("axial",))


@pytest.mark.parametrize("partitions", [2, 4, 8])
@pytest.mark.parametrize("pace", ["hard", "linear"])
def test_the_objective_sums_the_meta_labels(cases, pace, partitions):
    """Eight parts of six slices: some slices are drawn twice, and so are their positions."""
    item = task(cases, 8, partitions=partitions, pace=pace, weight_patient=0.3)
    item.objective.after_step(item.backbone, 0.25)
    drawn = item.batch(0, 0, 1)
    maps = [item.backbone.pooled(view.image, ("centre",))["centre"] for view in drawn.views]
    gamma = (1 + 9 * math.sqrt(0.25)) * math.log(15)
    wanted = 0.0
    labels = {
        "partition": [-(-round(6 * p) * partitions // 6) for p in drawn.info.position.tolist()],
        "patient": drawn.info.patient.tolist(),
    }
    for name, factor in (("partition", 1.0), ("patient", 0.3)):
        z = torch.cat([item.objective.heads[name](item_) for item_ in maps]).detach().double()
        value, _ = literal(z.requires_grad_(), labels[name] * 2, gamma, pace)
        wanted += factor * value.item()
    assert item(drawn).loss.item() == pytest.approx(wanted, rel=1e-4)


def test_one_slice_is_drawn_from_each_part(cases):
    item = task(cases, 8, partitions=2)
    info = item.batch(0, 0, 1).info
    assert info.partition.tolist() == [0, 1] * 4
    assert info.volume.tolist() == [v for v in info.volume.tolist()[::2] for _ in range(2)]


def test_the_age_grows_with_progress_and_is_saved(cases):
    item = task(cases)
    objective = item.objective
    ages = [objective.gamma(32).item()]
    for progress in (0.1, 0.5, 1.0):
        objective.after_step(item.backbone, progress)
        ages.append(objective.gamma(32).item())
    wanted = [(1 + 9 * math.sqrt(p)) * math.log(31) for p in (0, 0.1, 0.5, 1)]
    assert ages == pytest.approx(wanted, rel=1e-5)
    other = task(cases).objective
    other.load_state_dict(objective.state_dict())
    assert other.gamma(32).item() == ages[-1]


def test_the_share_of_pairs_that_count_rises_with_age(cases):
    item = task(cases, pace="hard")
    drawn = item.batch(0, 0, 1)
    early = item(drawn).logs
    item.objective.after_step(item.backbone, 1.0)
    late = item(drawn).logs
    for name in ("partition_weight", "patient_weight"):
        assert 0 < early[name] < late[name] <= 1


@pytest.mark.parametrize(
    ("options", "heads"),
    [({"weight_patient": 0}, {"partition"}), ({"weight_partition": 0}, {"patient"})],
)
def test_a_weight_of_zero_leaves_a_meta_label_out(cases, options, heads):
    item = task(cases, **options)
    assert set(item.objective.heads) == heads
    item(item.batch(0, 0, 1)).loss.backward()
    assert all(p.grad is not None for p in item.parameters() if p.requires_grad)


def test_some_meta_label_must_remain():
    with pytest.raises(ValueError, match="above 0"):
        method_class.Options(weight_partition=0, weight_patient=0)


def test_a_batch_must_hold_all_parts(cases):
    with pytest.raises(RequestError, match="divisor of the batch"):
        task(cases, 16, partitions=3)

"""U2PL against its definition: trusted pixels, the whole term, and when nothing is added."""

import numpy as np
import pytest
import torch
from tests.makers.joint import handmade, module_of

from contrabench.contracts import registry
from contrabench.objectives.consistency import boxes

cls = registry.methods.get("u2pl")
module = module_of("u2pl")


def literal_trusted(logits, labels, uncertain, part):
    limit = np.percentile(uncertain.numpy(), 100 * part)
    total, kept = 0, 0
    for b in range(logits.shape[0]):
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                if uncertain[b, y, x] <= limit + 1e-12:
                    shares = torch.exp(logits[b, :, y, x])
                    total = total - torch.log(shares[labels[b, y, x]] / shares.sum())
                    kept += 1
    return labels.numel() / kept * (total / kept)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.8, 1.0])
def test_trusted_pixels(part):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(3, (2, 4, 5), generator=generator)
    uncertain = torch.rand(2, 4, 5, generator=generator, dtype=torch.float64)
    found = module.trusted_entropy(logits, labels, uncertain, part)
    wanted = literal_trusted(logits, labels, uncertain, part)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    ours, theirs = (torch.autograd.grad(loss, logits)[0] for loss in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    if part == 1:
        plain = torch.nn.functional.cross_entropy(logits, labels)
        assert found.item() == pytest.approx(plain.item(), rel=1e-12)


@pytest.mark.parametrize("progress", [0.25, 0.75])
def test_the_term_on_pseudo_labels(progress):
    """The teacher is the student here: labels before, entropies after a box was pasted."""
    step = handmade("u2pl", contrast=0.0, progress=progress, cutmix=1.0, untrusted=0.4)
    image = step.batch.streams[0].views[0].image
    box = boxes(2, (32, 32), step.batch.generator("cutmix"), 1.0, (0.5, 0.5), (0.5, 2.0))
    assert box.float().mean().item() == pytest.approx(0.5, abs=0.05)
    labels = step.network.logits(image).argmax(1)
    mixed, marks = image.clone(), labels.clone()
    for b, y, x in torch.nonzero(box).tolist():
        mixed[b, :, y, x], marks[b, y, x] = image[b - 1, :, y, x], labels[b - 1, y, x]
    logits = step.network.logits(mixed)
    shares = torch.softmax(logits.detach(), 1)
    entropy = -(shares * torch.log(shares + 1e-6)).sum(1)
    wanted = literal_trusted(logits, marks, entropy, 1 - 0.4 * (1 - progress))
    assert step.take().loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_nothing_is_added_before_the_terms_begin():
    paused = handmade("u2pl", progress=0.2, alone=0.2)
    assert paused.objective.weight_at(0.1) == 0
    assert paused.objective.weight_at(0.2) == 1
    assert paused.take().loss.item() > 0


def test_the_contrast_begins_when_the_queues_have_filled():
    step = handmade("u2pl", weight=0.0, certain=0.0)
    assert step.take().loss.item() == 0
    later = handmade("u2pl", weight=0.0, certain=0.0).take(rounds=2)
    assert later.loss.item() > 0
    later.loss.backward()


def test_no_gradient_reaches_teacher_or_queues():
    step = handmade("u2pl", certain=0.0)
    names = {name.split(".")[0] for name, _ in step.objective.named_parameters()}
    assert names == {"head"}
    assert not any(buffer.requires_grad for buffer in step.objective.buffers())


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize(("classes", "labelled", "others"), [(2, 2, 1), (8, 1, 2), (3, 2, 2)])
@pytest.mark.parametrize("deep", [False, True])
def test_few_slices_and_any_number_of_classes(classes, labelled, others, blank, deep):
    sizes = {"classes": classes, "labelled": labelled, "others": others}
    result = handmade("u2pl", blank=blank, deep=deep, **sizes).take(rounds=3)
    assert torch.isfinite(result.loss)
    result.loss.backward()

import pytest
import torch

from contrabench.data.bank import build_bank
from contrabench.data.sampler import PartitionSampler, UniformSampler, partition_of
from contrabench.errors import RequestError

CPU = torch.device("cpu")


def one_kind(slices):
    return torch.zeros(slices, dtype=torch.long)


def test_uniform_passes_see_every_slice_once():
    sampler = UniformSampler(one_kind(10), 4, seed=0)
    rows = torch.cat([sampler.draw(step) for step in range(5)])
    assert rows[:10].sort().values.tolist() == list(range(10))
    assert rows[10:].sort().values.tolist() == list(range(10))
    assert not torch.equal(rows[:10], rows[10:])


def test_a_draw_depends_on_seed_and_step_alone():
    late = UniformSampler(one_kind(50), 8, seed=3).draw(17)
    sampler = UniformSampler(one_kind(50), 8, seed=3)
    assert torch.equal([sampler.draw(step) for step in range(18)][17], late)
    assert not torch.equal(UniformSampler(one_kind(50), 8, seed=4).draw(17), late)


def test_a_batch_larger_than_the_bank_is_filled():
    assert UniformSampler(one_kind(3), 16, seed=0).draw(2).bincount().tolist() in (
        [5, 5, 6],
        [5, 6, 5],
        [6, 5, 5],
    )


def test_each_orientation_is_drawn_as_often_however_many_slices_it_has():
    kinds = torch.tensor([0] * 3 + [1] * 30 + [2] * 24)
    sampler = UniformSampler(kinds, 8, seed=0)
    rows = torch.cat([sampler.draw(step) for step in range(45)])
    assert kinds[rows].bincount().tolist() == [120, 120, 120]
    for kind, passes in ((0, 40), (1, 4), (2, 5)):
        own = rows[kinds[rows] == kind].view(passes, -1)
        # Each pass holds every slice of its kind once, in an order of its own.
        assert (own.sort(1).values == (kinds == kind).nonzero()[:, 0]).all()
        assert len({tuple(one) for one in own.tolist()}) > 1


@pytest.mark.parametrize(("position", "part"), [(0.01, 0), (0.25, 0), (0.26, 1), (1.0, 3)])
def test_partitions_are_equal_parts(position, part):
    assert int(partition_of(torch.tensor(position), 4)) == part


def test_partition_batches_hold_one_slice_of_each_part(cases):
    bank = build_bank(cases, None, ("axial", "coronal"), CPU)
    sampler = PartitionSampler(bank, 16, 4, seed=0)
    seen = set()
    for step in range(30):
        rows = sampler.draw(step)
        parts = partition_of(bank.position[rows], 4).reshape(4, 4)
        volumes = bank.volume[rows].reshape(4, 4)
        assert torch.equal(parts, torch.arange(4).expand(4, 4))
        assert (volumes == volumes[:, :1]).all()
        assert len(volumes[:, 0].unique()) == 4
        seen |= set(rows.tolist())
    assert len(seen) > 0.5 * len(bank)
    assert torch.equal(sampler.draw(7), PartitionSampler(bank, 16, 4, seed=0).draw(7))


def test_more_volumes_than_there_are_repeat(cases):
    bank = build_bank(cases[:2], None, ("axial",), CPU)
    rows = PartitionSampler(bank, 16, 4, seed=0).draw(0)
    assert bank.volume[rows].bincount().tolist() == [8, 8]


def test_a_batch_must_hold_whole_sets_of_partitions(cases):
    bank = build_bank(cases[:1], None, ("axial",), CPU)
    with pytest.raises(RequestError, match="partitions"):
        PartitionSampler(bank, 16, 5, seed=0)

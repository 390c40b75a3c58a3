"""How much a forward pass keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class Saved:
    """What autograd has kept while it was watched.

    Attributes:
        storages: size in bytes of each storage, by its address.
    """

    def __init__(self) -> None:
        self.storages: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        """All of them together; tensors that share a storage count once."""
        return sum(self.storages.values())


@contextmanager
def saved_for_backward(apart: Iterable[Tensor] = ()) -> Iterator[Saved]:
    """Watches what autograd keeps of a forward pass for the backward pass.

    One forward pass for one watch: what an earlier one has freed gives its addresses away.

    Args:
        apart: tensors that do not count, such as the parameters.
    """
    left_out = {value.untyped_storage().data_ptr() for value in apart}
    saved = Saved()

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in left_out:
            saved.storages[storage.data_ptr()] = storage.nbytes()
        return value

    with saved_tensors_hooks(note, lambda value: value):
        yield saved

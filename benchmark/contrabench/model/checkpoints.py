"""Weights from outside: read from a file, told by what is in it, and fitted by name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrabench.errors import RequestError
from contrabench.files import checksum
from contrabench.text import counted, some

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from contrabench.contracts.method import Checkpoint

_INSIDE = ("state_dict", "model_state_dict", "model", "network")
"""Where programs put the weights in what else they save."""
_COUNTER = ".num_batches_tracked"
"""What batch normalisation counts and nothing computes with."""


def content_of(file: str | Path) -> str:
    """What tells a file of weights from others, wherever it lies; RequestError if it's not there.

    A file that has not changed is read once.
    """
    try:
        about = Path(file).stat()
        return _checksum(Path(file), about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise RequestError(f"the weights {file} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=16)
def _checksum(file: Path, size: int, changed: int) -> str:
    return checksum(file)


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of safetensors or of torch, by name.

    Nothing but tensors is loaded, so that a file can run no code. RequestError if it holds none.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except (SafetensorError, OSError):
        pass
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    # A stranger's file may end in anything.
    except Exception as error:
        raise RequestError(
            f"{file} is no safetensors file, and torch finds more than tensors in it or nothing at "
            "all; save the network's state_dict alone"
        ) from error
    for name in _INSIDE:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = content if isinstance(content, dict) else {}
    found = {str(name): value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    if not found:
        raise RequestError(f"{file} holds no tensors by name; save the network's state_dict")
    return found


def fitted(
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    asked: Checkpoint,
    aliases: Sequence[tuple[str, str]] = (),
    cure: str = "Name its beginnings with -o keys=[FROM=TO,FROM=TO]",
) -> dict[str, Tensor]:
    """The tensors of a file under the names that a backbone wants.

    Names are the backbone's own, or those of `asked.keys` or of its `aliases` (beginnings of names
    in the file, and what stands for them), behind any one prefix such as `module.`. RequestError
    that names the first tensor that is missing or of another shape, with the `cure` of the first.
    """
    ways = [asked.keys] if asked.keys else [(), tuple(aliases)]
    tried = [_under(weights, set(wanted), pairs) for pairs in ways]
    names = max(tried, key=len)
    missing = [name for name in wanted if name not in names and not name.endswith(_COUNTER)]
    if missing:
        raise RequestError(
            f"{asked.file} lacks {len(missing)} of {counted(len(wanted), 'tensor')} that the "
            f"backbone needs, first '{missing[0]}'; it holds {some(sorted(weights), 4)}. {cure}"
        )
    found = {name: weights[source] for name, source in names.items()}
    odd = [name for name, value in found.items() if value.shape != wanted[name].shape]
    if odd:
        shapes = (tuple(found[odd[0]].shape), tuple(wanted[odd[0]].shape))
        raise RequestError(
            f"{asked.file} has '{names[odd[0]]}' of shape {shapes[0]}, and the backbone's "
            f"'{odd[0]}' is {shapes[1]}; the weights are of another network, width or number of "
            "channels"
        )
    return {name: found.get(name, value).to(value.dtype) for name, value in wanted.items()}


def _under(
    weights: Mapping[str, Tensor], wanted: set[str], pairs: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """The name in the file of each wanted tensor, behind the prefix that most have."""
    renamed: dict[str, dict[str, str]] = {}
    for name in weights:
        for place in (0, *(at + 1 for at, mark in enumerate(name) if mark == ".")):
            prefix, rest = name[:place], name[place:]
            for old, new in pairs or (("", ""),):
                if old in ("", rest) or rest.startswith(f"{old}."):
                    renamed.setdefault(prefix, {})[new + rest[len(old) :]] = name
    fitting = (
        {name: source for name, source in found.items() if name in wanted}
        for found in renamed.values()
    )
    return max(fitting, key=len, default={})

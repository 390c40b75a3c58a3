"""A trained network in forms that run without this program, and a card that tells what it is.

Every form is a folder: the network as files of its format, `config.json` for programs, and
`README.md`, the card, whose lines of code load them: a model repository as it stands. Whatever
the form, it takes slices as the card prepares them and gives the numbers that `bench predict` works
with.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from contrabench.errors import RequestError
from contrabench.files import checksum, write_text
from contrabench.stages.leakage import CARD_FACTS
from contrabench.training.checkpoint import save_weights
from contrabench.use.card import card_of, markdown

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.model.segmentation import Segmenter
    from contrabench.use.trained import Trained

Part = Literal["network", "encoder"]
Form = Literal["safetensors", "torch", "torchscript", "onnx", "monai", "timm"]
FORMS: tuple[Form, ...] = get_args(Form)
CARD, TENSORS = "README.md", "model.safetensors"
"""As a model repository has them."""
_ASK = "found = network(image)"


class Whole(nn.Module):
    """A network as others call it: image (B, C, H, W) to probabilities (B, classes, H, W)."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Class probabilities, the background first."""
        return self.network.predict(image)


class Encoder(nn.Module):
    """The encoder as others call it: image (B, C, H, W) to the maps of its parts, finest first.

    The parts behind it are taken away from the backbone.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.parts = backbone, backbone.encoder
        for part in set(backbone.parts) - set(self.parts):
            delattr(backbone, part)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """One map for each part."""
        maps = self.backbone.features(image, self.parts)
        return tuple(maps[part] for part in self.parts)


def export(trained: Trained, part: Part, form: Form, folder: Path) -> list[Path]:
    """Writes one part of a trained network in one form, and its card; gives the files.

    Raises:
        RequestError: if the folder holds something already, the form needs a package that is not
            there, or the network has no counterpart in the library that was asked for.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(f"{folder} is there already; name an empty or a new folder with --out")
    network = trained.network()
    module = Whole(network) if part == "network" else Encoder(network.backbone)
    module.eval()
    folder.mkdir(parents=True, exist_ok=True)
    lines = _WRITERS[form](trained, module, folder)
    files = {file.name: checksum(file) for file in sorted(folder.iterdir())}
    facts = card_of(trained, part, form, files)
    write_text(folder / CARD_FACTS, json.dumps(facts, indent=1) + "\n")
    write_text(folder / CARD, markdown(facts, lines))
    return sorted(folder.iterdir())


def _example(trained: Trained) -> Tensor:
    """Two slices of the size that it was trained at."""
    pixels = trained.spec.budget.pixels
    return torch.zeros(2, trained.backbone.in_channels, pixels, pixels)


def _program(trained: Trained, module: nn.Module) -> torch.export.ExportedProgram:
    """The network as a graph, for any number of slices of any size that it can take."""
    step = trained.network().backbone.multiple
    sides = {2: step * torch.export.Dim("rows"), 3: step * torch.export.Dim("columns")}
    shapes = ({0: torch.export.Dim("slices"), **sides},)
    with torch.no_grad():
        return torch.export.export(module, (_example(trained),), dynamic_shapes=shapes)


def _image(trained: Trained) -> str:
    """A slice to ask with, in a line of Python."""
    return f"image = torch.zeros{(1, *_example(trained).shape[1:])}"


def _weights(trained: Trained, module: nn.Module, folder: Path, form: Form) -> list[str]:
    """Tensors by name, and the graph that they belong to."""
    with warnings.catch_warnings():
        # Channels last, a tensor counts as a view of itself there.
        warnings.simplefilter("ignore", UserWarning)
        torch.export.save(_program(trained, module), folder / "network.pt2")
    state = module.state_dict()
    if form == "safetensors":
        save_weights(folder / TENSORS, state, {"format": "pt"})
        read = f'load_file("{TENSORS}")'
    else:
        torch.save(
            {name: value.contiguous() for name, value in state.items()}, folder / "weights.pt"
        )
        read = 'torch.load("weights.pt", weights_only=True)'
    return [
        "import torch",
        *(["from safetensors.torch import load_file"] if form == "safetensors" else []),
        'network = torch.export.load("network.pt2").module()',
        f"network.load_state_dict({read})",
        _image(trained),
        _ASK,
    ]


def _torchscript(trained: Trained, module: nn.Module, folder: Path) -> list[str]:
    """Traced, for programs that load TorchScript, in C++ for instance."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        traced: Any = torch.jit.trace(module, _example(trained))  # type: ignore[no-untyped-call]
        traced.save(str(folder / "network.ts"))
    return ["import torch", 'network = torch.jit.load("network.ts")', _image(trained), _ASK]


def _onnx(trained: Trained, module: nn.Module, folder: Path) -> list[str]:
    """For ONNX runtimes."""
    try:
        import onnxscript  # noqa: F401 - what torch's exporter needs, and tells at length
    except ImportError as error:
        raise RequestError(
            "writing ONNX needs onnx and onnxscript: pip install 'contrabench[export]'"
        ) from error
    names = list(module.parts) if isinstance(module, Encoder) else ["probabilities"]
    program: Any = torch.onnx.export(
        _program(trained, module), input_names=["image"], output_names=names, verbose=False
    )
    program.save(str(folder / "network.onnx"))
    return [
        "import torch",
        "import onnxruntime",
        'network = onnxruntime.InferenceSession("network.onnx")',
        _image(trained),
        'found = network.run(None, {"image": image.numpy()})',
    ]


def _counterpart(trained: Trained, module: nn.Module, folder: Path, library: str) -> list[str]:
    """Tensors by the names of a library's counterpart, if the backbone has one there."""
    found = trained.network().backbone.counterpart(library, isinstance(module, Whole))
    if found is None:
        what = "network" if isinstance(module, Whole) else "encoder"
        raise RequestError(
            f"the {what} of '{trained.backbone.name}' has no counterpart in {library}; export "
            f"{'--part encoder, or ' if what == 'network' else ''}another format"
        )
    save_weights(folder / TENSORS, found.weights, {"format": "pt"})
    return [
        "import torch",
        "from safetensors.torch import load_file",
        *found.builds,
        f'network.load_state_dict(load_file("{TENSORS}"), strict=False)',
        "network.eval()",
        _image(trained),
        *found.asks,
    ]


_WRITERS: Mapping[Form, Callable[[Trained, nn.Module, Path], list[str]]] = {
    "safetensors": partial(_weights, form="safetensors"),
    "torch": partial(_weights, form="torch"),
    "torchscript": _torchscript,
    "onnx": _onnx,
    "monai": partial(_counterpart, library="monai"),
    "timm": partial(_counterpart, library="timm"),
}

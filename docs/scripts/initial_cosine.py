"""How far an untrained network tells slices apart: cosines of pooled maps at the initial weights.

Two views of each slice are pooled over the whole map, as by a method's global head; the mean cosine
of the two views of a slice, less that of views of different slices, is what a contrast of slices
has to begin with.

    python docs/scripts/initial_cosine.py acdc=../data/acdc "phantom[seed=7]" --pixels 48 --width 8
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.nn import functional

from contrabench.contracts.options import parse_options
from contrabench.contracts.registry import datasets
from contrabench.contracts.views import ViewSpec
from contrabench.data.bank import build_bank
from contrabench.data.sampler import UniformSampler
from contrabench.model.weights import build_backbone
from contrabench.progress import Silent
from contrabench.protocol import BackboneSpec
from contrabench.stages.prepare import prepare
from contrabench.views.maker import make_views

TAPS = ("pool3", "pool4", "centre", "centre_up")


def margin(maps: list[torch.Tensor]) -> float:
    """Mean cosine of the views of a slice less that of different slices, of maps (B, C, h, w)."""
    first, second = (functional.normalize(one.mean((2, 3)).double(), dim=1) for one in maps)
    cosines = first @ second.T
    same = float(cosines.diagonal().mean())
    count = len(cosines)
    return same - (float(cosines.sum()) - count * same) / (count * (count - 1))


def main() -> None:
    """Prints a line for each dataset, normalisation and tap."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("datasets", nargs="+", help="NAME[options]=FOLDER, or NAME[options]")
    parser.add_argument("--pixels", type=int, default=48)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=20)
    asked = parser.parse_args()
    sys.stdout.write(f"{'dataset':28} {'norm':9}" + "".join(f"{tap:>11}" for tap in TAPS) + "\n")
    for word in asked.datasets:
        name, _, inside, folder = re.fullmatch(r"(\w+)(\[(.*)\])?(?:=(.+))?", word).groups()
        kind = datasets.get(name)
        options = parse_options(kind.Options, (inside or "").split(",") if inside else [], name)
        with TemporaryDirectory() as store:
            data = kind(Path(folder) if folder else None, options)
            cases = prepare(data, name, asked.pixels, Path(store), Silent())
            bank = build_bank(cases, None, ("axial",), torch.device("cpu"))
        sampler = UniformSampler(bank.orientation, asked.batch, 0)
        for norm in ("instance", "batch"):
            spec = BackboneSpec(width=asked.width, options={"norm": norm})
            backbone = build_backbone(spec, 0)
            found = dict.fromkeys(TAPS, 0.0)
            for number in range(asked.batches):
                images, _ = bank.take(sampler.draw(number))
                views = make_views(images, None, (ViewSpec(), ViewSpec()), number, 16)
                with torch.no_grad():
                    maps = [backbone.features(view.image, TAPS) for view in views]
                for tap in TAPS:
                    found[tap] += margin([one[tap] for one in maps]) / asked.batches
            figures = "".join(f"{found[tap]:11.4f}" for tap in TAPS)
            sys.stdout.write(f"{word[:28]:28} {norm:9}{figures}\n")


if __name__ == "__main__":
    main()

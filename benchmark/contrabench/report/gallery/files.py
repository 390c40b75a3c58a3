"""The exhibits of a report as files beside it, for formats that hold no pictures."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from contrabench.contracts.report import Report, Section
from contrabench.report.gallery.standalone import exhibit_svg

_NO_NAME = re.compile(r"[^a-z0-9]+")


def write_pictures(report: Report, folder: Path, beside: Path) -> Report:
    """Writes each exhibit as one SVG file, named after its section and what it shows.

    Args:
        report: with galleries.
        folder: to write to; made if need be.
        beside: the folder of the report, which refers to the files from there.

    Returns:
        The report, whose exhibits know their files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    way = Path(os.path.relpath(folder, beside))
    return replace(
        report, sections=tuple(_section(section, folder, way) for section in report.sections)
    )


def _section(section: Section, folder: Path, way: Path) -> Section:
    gallery = section.gallery
    if gallery is None:
        return section
    exhibits = []
    for exhibit in gallery.exhibits:
        words = f"{section.title} {section.protocol[:4]} {exhibit.word}".lower()
        name = f"{_NO_NAME.sub('-', words).strip('-')}.svg"
        picture = exhibit_svg(exhibit, gallery.structures)
        (folder / name).write_text(picture, encoding="utf-8")
        exhibits.append(replace(exhibit, file=(way / name).as_posix()))
    return replace(section, gallery=replace(gallery, exhibits=tuple(exhibits)))

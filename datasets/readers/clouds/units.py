"""Units of length by their names, and a cloud in the unit of its file."""

import dataclasses

import numpy as np

from datasets.source import BadInput, flag

METRES = {"m": 1.0, "mm": 1e-3, "cm": 1e-2, "dm": 0.1, "km": 1e3, "in": 0.0254}
METRES |= {"ft": 0.3048, "us-ft": 1200 / 3937}  # the US survey foot, used before 2023
NAMES = {
    "meter": "m", "meters": "m", "metre": "m", "metres": "m", "metric": "m",
    "millimeter": "mm", "millimetre": "mm", "millimeters": "mm", "millimetres": "mm",
    "centimeter": "cm", "centimetre": "cm", "kilometer": "km", "kilometre": "km",
    "inch": "in", "inches": "in", "foot": "ft", "feet": "ft", "ft_intl": "ft",
    "usft": "us-ft", "ftus": "us-ft", "us_ft": "us-ft", "us ft": "us-ft", "sft": "us-ft",
    "us survey foot": "us-ft", "us survey feet": "us-ft", "survey feet": "us-ft",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RawCloud:
    """A point cloud as stored in its file.

    Attributes:
        xyz: coordinates (n, 3), numbers, in the file's unit.
        labels: (n,) numbers, or None.
        notes: sentences on what was decided or left out while reading it.
        metres: the unit of the file in metres, a number or one per axis, (3,); None if the file
            does not define it.
    """

    xyz: np.ndarray
    labels: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    metres: float | tuple[float, ...] | None = None


def unit(text: str) -> str | None:
    """Return the key of `METRES` for the name of a unit, None if it is unknown."""
    name = text.strip().lower()
    name = NAMES.get(name, name)
    return name if name in METRES else None


def check_hints(columns=None, up=None, units=None) -> None:
    """Raise `BadInput` unless the hints on clouds are valid."""
    if up not in (None, "y", "z"):
        raise BadInput(flag("up"), f"{up!r} is not an up axis", "Use y or z")
    if units is not None and unit(units) is None:
        raise BadInput(flag("units"), f"{units!r} is not a known unit", f"Use {', '.join(METRES)}")
    if columns is not None and len(columns.split(",")) not in (3, 4):
        raise BadInput(
            flag("columns"),
            f"{columns!r} does not name three columns (or four, with the label's)",
            "Write them with commas between, by name or by number from 1: x,y,z or 2,3,4",
        )

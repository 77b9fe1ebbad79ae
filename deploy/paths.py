"""Where things lie: the checkout, and the one data folder that holds everything a local run writes."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout; every command runs with it as working directory."""


def data_folder() -> Path:
    """`$PENSTOCK_DATA`, or `.data` in the checkout."""
    return Path(ROOT, os.environ.get("PENSTOCK_DATA") or ".data").resolve()


def jars_folder() -> Path:
    """The downloaded Java archives: beside the data, because throw-away stacks share them."""
    return data_folder() / "jars"


def called_from(path: str) -> Path:
    """A path as the caller meant it: relative to the folder where the command was typed."""
    return Path(os.environ.get("PENSTOCK_CALLED_FROM", "."), path).resolve()

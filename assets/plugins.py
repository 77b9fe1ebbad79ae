"""The folder is the registry: protocols are the files of sources/, rules those of operators/.

Nothing is imported by name, so this package depends on neither; a new file is found by being there.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any


@cache
def discover(package: str, attribute: str) -> dict[str, type[Any]]:
    """The classes named `attribute` in the public modules of a package, by the name of their module."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            declared = getattr(importlib.import_module(f"{package}.{module.name}"), attribute, None)
            if isinstance(declared, type):
                found[module.name] = declared
    return dict(sorted(found.items()))

"""The errors that people can do something about, split by where the fault is.

ConfigError      a file or variable of ours; raised before anything starts
  PlantError     the plant folder, all its problems at once
ContractError    a record (assets.frame)
"""

import errno
from typing import Final

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of an `OSError` that ends when there is space again."""


class ConfigError(ValueError):
    """What is configured cannot be used; the message says what, where and what to do."""


class PlantError(ConfigError):
    """A plant folder with problems; the message lists all of them, each with file, line and path."""

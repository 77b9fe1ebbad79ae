"""The errors that people can do something about, split by where the fault is.

ConfigError      a file or variable of ours; raised before anything starts
  PlantError     the plant folder, all its problems at once
ContractError    a record (assets.frame)
"""


class ConfigError(ValueError):
    """What is configured cannot be used; the message says what, where and what to do."""


class PlantError(ConfigError):
    """A plant folder with problems; the message lists all of them, each with file, line and path."""

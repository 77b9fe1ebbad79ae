"""Which copy of a gateway reads which source: decided once and kept beside the spools, which all copies share.

A source that comes or goes moves no other: copies that still run with the plant of before would read it as well.
"""

import fcntl
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

Shares = dict[str, int]
"""By source the copy that reads it."""


def shares(folder: Path, gateway: str, sources: Collection[str], copies: int) -> Shares:
    """The copy of each source, as it was decided for this number of copies; new sources go to those with the fewest."""
    if copies == 1:
        return dict.fromkeys(sources, 0)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{gateway}.shares.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = folder / f"{gateway}.shares.json"
        decided = _read(path)
        before = decided.get(str(copies), {})
        after = shared(before, sources, copies)
        if after != before:
            beside = path.with_suffix(".tmp")
            beside.write_bytes(msgspec.json.encode(decided | {str(copies): after}))
            beside.replace(path)
    return {source: after[source] for source in sorted(sources)}


def shared(before: Mapping[str, int], sources: Collection[str], copies: int) -> Shares:
    """Every source with its copy; those that are gone keep theirs, in case they come back.

    >>> shared({"oven": 0, "meter": 1}, ["crane", "meter", "oven", "press"], 2)
    {'oven': 0, 'meter': 1, 'crane': 0, 'press': 1}
    """
    after = dict(before)
    load = Counter(dict.fromkeys(range(copies), 0))
    load.update(before[source] for source in sources if source in before)
    for source in sorted(set(sources) - set(before)):
        after[source] = min(load, key=lambda copy: (load[copy], copy))
        load[after[source]] += 1
    return after


def _read(path: Path) -> dict[str, Shares]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Shares])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as error:
        log.warning('could not read "%s": %s; the sources are shared among the copies anew', path, error)
        return {}

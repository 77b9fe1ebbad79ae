"""Two generations of live values: the newest message of every subject."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from assets.condition import Refused
from assets.stream import ASSET_STREAM, GAP, GONE, MODEL, state_topic
from flows._site import Site
from replay._compare import Difference, Findings, Origin, SeriesHash, Verdict, readable
from replay._generations import Generations, Offsets, basis_bounds, both_finished, live_prefix, live_stream
from sinks.nats import find_last_values

STATE: str = "state."


class _Ordered(msgspec.Struct):
    origin: Origin


class _Told(_Ordered):
    value: Any = None
    item: str = ""


_decode = msgspec.json.Decoder(_Ordered).decode
_tell = msgspec.json.Decoder(_Told).decode


def verify_serve(site: Site, generations: Generations, live: int, rebuilt: int, *, shown: bool) -> Verdict:  # noqa: ARG001
    """Compare the payloads of all subjects whose newest value lies where both have finished."""
    bounds = [finished_values(site, generations, generation) for generation in (live, rebuilt)]
    observed, derived = (both_finished(bounds[0][kind], bounds[1][kind]) for kind in (0, 1))
    one, other = (read_values(site, generation, generations.live) for generation in (live, rebuilt))
    since = [generations.begins(generation, ASSET_STREAM) for generation in (live, rebuilt)]
    kept = lasting(one, other, since[1]), lasting(other, one, since[0])
    found, newer, hashes = compare_values(*kept, observed, derived)
    return Verdict(
        view="serve",
        live=live,
        rebuilt=rebuilt,
        series=len(one.keys() | other.keys()),
        rows=len(one),
        compared=hashes[0].rows,
        newer=newer,
        differences=found.count,
        hash_live=hashes[0].hexdigest(),
        hash_rebuilt=hashes[1].hexdigest(),
        first=found.first,
        until={ASSET_STREAM: observed, "derived": derived},
        older=len(one) + len(other) - sum(map(len, kept)),
        since={ASSET_STREAM: {**since[0], **since[1]}} if any(map(any, map(dict.values, since))) else {},
    )


def lasting(values: Mapping[str, bytes], others: Mapping[str, bytes], since: Offsets) -> Mapping[str, bytes]:
    """The values that a view has, too, that began at `since` and has `others`."""
    late = any(since.values())
    return {s: v for s, v in values.items() if s in others or not outlived(s, v, others)} if late else values


def outlived(subject: str, payload: bytes, later: Mapping[str, bytes]) -> bool:
    """Whether a value is one that no key frame repeats: a view knows it only if it knew the asset by then.

    That is a gap, an item that the definition in force does not have, and that an asset was removed.
    """
    try:
        told = _tell(payload)
    except msgspec.DecodeError:
        return False
    if subject.startswith(STATE):
        return bool(told.value == GONE)
    model = later.get(f"{subject.rpartition('.')[0]}.{MODEL}")
    if model is None:
        return False
    return told.item == GAP or (told.item[0] != "_" and told.item not in _tell(model).value.get("items", {}))


def compare_values(
    live: Mapping[str, bytes], rebuilt: Mapping[str, bytes], observed: Offsets, derived: Offsets
) -> tuple[Findings, int, tuple[SeriesHash, SeriesHash]]:
    """What differs, how many subjects are newer than the bounds on either side, and the hashes of what was compared."""
    found, newer, hashes = Findings(), 0, (SeriesHash(), SeriesHash())
    for subject in sorted(live.keys() | rebuilt.keys()):
        bounds = derived if subject.startswith(STATE) else observed
        payloads = live.get(subject), rebuilt.get(subject)
        places = [origin(payload) for payload in payloads if payload is not None]
        if any(offset >= bounds.get(partition, 0) for partition, offset, _ in places):
            newer += 1
            continue
        for payload, sum_ in zip(payloads, hashes, strict=True):
            if payload is not None:
                sum_.add(subject, payload)
        if payloads[0] != payloads[1]:
            found.add(Difference(subject, *min(places), *map(readable, payloads)))
    return found, newer, hashes


def origin(payload: bytes) -> Origin:
    """The place in the stream that a live value comes from; one that says none stands before all others."""
    try:
        return _decode(payload).origin
    except msgspec.DecodeError:
        return (0, -1, 0)


def finished_values(site: Site, generations: Generations, generation: int) -> tuple[Offsets, Offsets]:
    """How far a generation of `serve` has published observations, and derived state by its basis."""
    of = generations.derived(generation)
    observed = generations.finished(generation, ASSET_STREAM)
    derived = basis_bounds(site, of, generations.finished(generation, state_topic(of)))
    return observed, both_finished(observed, derived)


def read_values(site: Site, generation: int, live: int) -> dict[str, bytes]:
    """The newest payload of every subject, without what the subjects of a generation begin with."""
    stream = live_stream(generation, live)
    values = asyncio.run(find_last_values(site.nats, stream))
    if values is None:
        raise Refused(
            f'could not read generation {generation} of view "serve": NATS has no stream "{stream}"; '
            "make it with: python -m replay rebuild serve"
        )
    skip = len(live_prefix(generation, live))
    return {subject[skip:]: payload for subject, payload in values.items()}

"""Two generations of live values: the newest message of every subject."""

import asyncio
from collections.abc import Mapping

import msgspec

from assets.condition import Refused
from assets.stream import ASSET_STREAM, state_topic
from flows._site import Site
from replay._compare import Difference, Findings, Origin, SeriesHash, Verdict, readable
from replay._generations import Generations, Offsets, basis_bounds, both_finished, live_prefix, live_stream
from sinks.nats import find_last_values

STATE: str = "state."


class _Ordered(msgspec.Struct):
    origin: Origin


_decode = msgspec.json.Decoder(_Ordered).decode


def verify_serve(site: Site, generations: Generations, live: int, rebuilt: int, *, shown: bool) -> Verdict:  # noqa: ARG001
    """Compare the payloads of all subjects whose newest value lies where both have finished."""
    bounds = [finished_values(site, generations, generation) for generation in (live, rebuilt)]
    observed, derived = (both_finished(bounds[0][kind], bounds[1][kind]) for kind in (0, 1))
    one, other = (read_values(site, generation, generations.live) for generation in (live, rebuilt))
    found, newer, hashes = compare_values(one, other, observed, derived)
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
    )


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

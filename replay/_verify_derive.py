"""Two generations of derived state: both topics are read side by side, partition by partition."""

from collections.abc import Iterator

import msgspec

from assets.stream import ASSET_STREAM, state_topic
from flows._site import Site
from replay._compare import Findings, Row, SeriesHash, Verdict, compare_rows
from replay._generations import Generations, both_finished
from replay.progress import Advance, bar
from sources.kafka import read_range, watermarks


class _Head(msgspec.Struct):
    asset: str
    metric: str
    basis: tuple[int, int, int]


class _Side:
    """One generation, up to the common bound."""

    def __init__(self, site: Site, generation: int) -> None:
        self._site = site
        self._topic = state_topic(generation)
        self.ranges = watermarks(site.kafka, self._topic)
        self.hash = SeriesHash()
        self.newer = 0
        self._decode = msgspec.json.Decoder(_Head).decode

    def rows(self, partition: int, bound: int, advance: Advance) -> Iterator[Row]:
        """The rows whose basis lies before the bound."""
        last = (partition, 0, 0)
        if self.ranges[partition][0] == self.ranges[partition][1]:
            return
        for batch in read_range(self._site.kafka, self._topic, {partition: self.ranges[partition]}):
            advance(batch.next - batch.first)
            for value in batch.values:
                row = self._row(value or b"", last)
                last = row.basis
                if last[1] >= bound:
                    self.newer += 1
                else:
                    self.hash.add(row.series, row.record)
                    yield row

    def _row(self, record: bytes, last: tuple[int, int, int]) -> Row:
        try:
            head = self._decode(record)
        except msgspec.DecodeError:  # no event: it stands where the one before it does
            return Row(last, "(not an event)", record)
        return Row(head.basis, f"{head.asset}/{head.metric}", record)


def verify_derive(site: Site, generations: Generations, live: int, rebuilt: int, *, shown: bool) -> Verdict:
    """Compare record by record, per (asset, metric)."""
    for generation in (live, rebuilt):
        generations.check_whole(generation)
    until = both_finished(generations.finished(live, ASSET_STREAM), generations.finished(rebuilt, ASSET_STREAM))
    one, other = _Side(site, live), _Side(site, rebuilt)
    found = Findings()
    total = sum(high - low for side in (one, other) for low, high in side.ranges.values())
    with bar("verifying derive", total, shown=shown) as advance:
        for partition in sorted({*one.ranges} & {*other.ranges}):
            bound = until.get(partition, 0)
            for difference in compare_rows(one.rows(partition, bound, advance), other.rows(partition, bound, advance)):
                found.add(difference)
    return Verdict(
        view="derive",
        live=live,
        rebuilt=rebuilt,
        series=len(one.hash.series | other.hash.series),
        rows=one.hash.rows + one.newer,
        compared=one.hash.rows,
        newer=one.newer + other.newer,
        differences=found.count,
        hash_live=one.hash.hexdigest(),
        hash_rebuilt=other.hash.hexdigest(),
        first=found.first,
        until={ASSET_STREAM: until},
    )

"""Two processes under one name, told from one that was started again."""

from assets.frame import Frame, Tick
from operators._writers import Interleaving, Writers
from tests.streams import frame, tick


def found(*ticks: Tick, partition: int = 0) -> list[Interleaving]:
    writers = Writers()
    for each in ticks:
        writers.take(partition, each)
    return writers.found


def test_starts_one_after_the_other_are_one_writer() -> None:
    assert found(*(tick(at, run=run) for at, run in enumerate((1, 1, 2, 3, 3, 7)))) == []


def test_a_run_that_ticks_again_behind_another_one_is_a_second_writer() -> None:
    assert found(*(tick(at, run=run) for at, run in enumerate((1, 1, 2, 1, 2, 2, 1)))) == [Interleaving("gw-1", (1, 2))]


def test_other_gateways_and_copies_are_told_apart() -> None:
    names = ("gw-1", "gw-2", "gw-1-0-of-2", "gw-1-1-of-2")
    assert found(*(tick(n, gateway=names[n % 4], run=n % 4) for n in range(12))) == []


def test_partitions_that_were_read_to_different_ends_are_told_apart() -> None:
    writers = Writers()
    for partition, run in ((0, 1), (0, 2), (1, 1), (1, 2)):
        writers.take(partition, tick(1, run=run))
    assert writers.found == []


def test_it_says_what_to_do() -> None:
    told = str(Interleaving("gw-1", (1, 2)))
    assert told.startswith(
        'two writers named "gw-1": runs 1 and 2 interleave; give each ingest process a name of its own'
    )


def test_frames_and_poison_tell_nothing() -> None:
    from tests.operators.test_tails import raw

    writers = Writers()
    records: list[Frame | Tick | bytes] = [tick(1, run=1), frame(1, ("x", 1), run=2), tick(2, run=1)]
    batch = raw(*records)
    batch.keys.append(None)
    batch.values.append(b"{}")
    batch.offsets.append(3)
    writers.read(batch)
    assert writers.found == []

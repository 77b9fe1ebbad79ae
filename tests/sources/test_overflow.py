"""What is read while there is no room: counted, and told as one gap."""

from assets.reading import Gap, Link, Mark, Message, Reading, Readings
from sources._overflow import REASON, Overflow


class Room:
    def __init__(self) -> None:
        self.full = False
        self.overflow = Overflow(lambda: self.full)

    def take(self, *messages: Message, full: bool) -> list[Message]:
        self.full = full
        return self.overflow.take(list(messages))


def readings(at: int, *addresses: str) -> Readings:
    return Readings(at, [Reading(address, 1) for address in addresses])


def test_with_room_everything_passes() -> None:
    messages: list[Message] = [readings(1, "a"), Link(2, True), Gap(["a"], 1, 2, "x", 3), Mark(3, True, 1)]
    assert Room().take(*messages, full=False) == messages


def test_what_was_dropped_is_a_gap_from_what_passed_last_with_counts_by_address() -> None:
    room = Room()
    room.take(readings(10, "a"), full=False)
    assert room.take(readings(11, "a", "b"), Mark(12, True, 3), readings(13, "b"), full=True) == []
    assert room.take(readings(15, "a"), Mark(16, True, 5), full=False) == [
        Gap(["a", "b"], 10, 13, REASON, 3, {"a": 1, "b": 2}),
        readings(15, "a"),
        Mark(16, True, 5, 3),
    ]
    assert room.take(Mark(17, True, 5, 4), full=False) == [Mark(17, True, 5, 7)]


def test_the_newest_state_of_the_link_is_told_afterwards() -> None:
    room = Room()
    room.take(Link(1, False, "unplugged"), Link(2, True), Link(3, False, "again"), full=True)
    assert room.take(full=False) == [Link(3, False, "again")]
    assert room.take(full=False) == []


def test_gaps_of_the_device_go_into_the_one_gap_and_make_the_count_unknown() -> None:
    room = Room()
    room.take(Gap(["a"], 1, 2, "x"), readings(4, "b"), full=True)
    assert room.take(full=False) == [Gap(["a", "b"], 1, 4, REASON)]
    room.take(Gap([], 5, 6, "x"), readings(7, "b"), full=True)
    assert room.take(full=False) == [Gap([], 5, 7, REASON)]


def test_the_end_of_the_source_passes_with_all_that_is_to_be_said() -> None:
    room = Room()
    assert room.take(readings(1, "a"), Mark(2, True, 1, last=True), full=True) == [
        Gap(["a"], 1, 1, REASON, 1, {"a": 1}),
        Mark(2, True, 1, 1, last=True),
    ]

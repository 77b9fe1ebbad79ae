from sources._modbus_address import Hole, parse_address
from sources._modbus_plan import Limits, group, halves, make_block


def spans(addresses: list[str], limits: Limits) -> list[tuple[str, int, int]]:
    return [(block.table, block.start, block.count) for block in group(map(parse_address, addresses), limits)]


def test_neighbours_are_read_together_up_to_the_gap() -> None:
    addresses = ["holding:0 uint16", "holding:13 uint16", "holding:27 uint16"]
    assert spans(addresses, Limits()) == [("holding", 0, 14), ("holding", 27, 1)]
    assert spans(addresses, Limits(fill_gap=0)) == [("holding", 0, 1), ("holding", 13, 1), ("holding", 27, 1)]


def test_a_request_is_never_longer_than_the_device_allows() -> None:
    addresses = [f"input:{n} uint32" for n in range(0, 300, 2)]
    assert [count for *_, count in spans(addresses, Limits())] == [124, 124, 52]
    assert max(count for *_, count in spans(addresses, Limits(registers=10))) == 10


def test_a_hole_is_never_asked_for() -> None:
    addresses = ["holding:38 uint16", "holding:50 uint16"]
    assert spans(addresses, Limits(holes=(Hole("holding", 40, 49),))) == [("holding", 38, 1), ("holding", 50, 1)]
    assert spans(addresses, Limits(holes=(Hole("input", 40, 49),))) == [("holding", 38, 13)]


def test_tables_are_never_mixed() -> None:
    addresses = ["coil:0 bool", "discrete:0 bool", "holding:0 uint16", "input:0 uint16"]
    assert [table for table, *_ in spans(addresses, Limits())] == ["coil", "discrete", "holding", "input"]


def test_a_block_is_halved_by_addresses() -> None:
    block = make_block([parse_address(f"holding:{n} uint16") for n in (1, 2, 9)])
    assert [(half.start, half.count) for half in halves(block)] == [(1, 1), (2, 8)]

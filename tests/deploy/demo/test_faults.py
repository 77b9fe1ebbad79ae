from deploy.demo import faults
from deploy.demo.devices import Counters, tell
from deploy.demo.faults import BAD_SENSOR_FAILURE, CLOCK_SKEW_US, REPEAT_S, Kind
from deploy.demo.machines import Plant
from deploy.demo.physics import SCAN_US, SECOND_US

START = 1_763_600_000_000_000


def test_the_first_minute_shows_every_kind_and_ends_whole() -> None:
    first = faults.occurrences(0)
    assert {fault.kind for fault in first} == set(Kind)
    assert all(fault.to_us <= 60 * SECOND_US for fault in first)
    assert not faults.active(60 * SECOND_US)


def test_the_table_repeats() -> None:
    at = 10 * SECOND_US
    later = at + 3 * REPEAT_S * SECOND_US
    assert [(f.kind, f.target) for f in faults.active(at)] == [(f.kind, f.target) for f in faults.active(later)] != []


def test_a_bad_item_is_null_and_says_why_and_only_for_its_time() -> None:
    plant = Plant(1)
    counters = Counters(plant)
    during, after = (tell(plant, counters, second * SECOND_US, START) for second in (9, 12))
    assert during["press-02", "temperature"] == (None, BAD_SENSOR_FAILURE, START + 9 * SECOND_US)
    assert during["press-01", "temperature"].status == after["press-02", "temperature"].status == 0


def test_a_wrong_clock_is_three_hours_ahead_for_one_asset_only() -> None:
    plant = Plant(1)
    told = tell(plant, Counters(plant), 41 * SECOND_US, START)
    assert told["press-04", "state"].source_time == START + 41 * SECOND_US + CLOCK_SKEW_US
    assert told["press-03", "state"].source_time == START + 41 * SECOND_US


def test_a_counter_reset_starts_again_from_zero_while_the_total_goes_on() -> None:
    plant = Plant(1)
    counters = Counters(plant)
    key = ("conveyor-02", "parts")
    shown = [tell(plant, counters, t, START)[key].value for t in range(0, 70 * SECOND_US, SCAN_US)]
    assert shown[479] == plant.at(479 * SCAN_US)[key]
    assert int(shown[479] or 0) > 30_000
    assert shown[480] == 0
    assert shown[699] == int(plant.at(699 * SCAN_US)[key]) - int(plant.at(480 * SCAN_US)[key])


def test_a_counter_shows_sixteen_bits_of_its_total() -> None:
    assert Counters(Plant(1)).show(("conveyor-01", "parts"), 65_536 + 5, 0) == 5

import math

import pytest

from deploy.demo.physics import SECOND_US, Step, Track, between, lag, stream, uniform


def test_a_lag_covers_63_percent_of_a_jump_in_one_time_constant() -> None:
    assert lag(0.0, 100.0, 0.0, 5.0, 5.0) == pytest.approx(100 * (1 - math.exp(-1)))


def test_a_lag_follows_a_ramp_one_time_constant_behind() -> None:
    assert lag(0.0, 0.0, 2.0, 100.0, 3.0) == pytest.approx(2.0 * (100.0 - 3.0))


def test_random_numbers_depend_on_the_keys_alone() -> None:
    one, other = stream(1, "press-01"), stream(2, "press-01")
    numbers = [uniform(one, k) for k in range(2000)]
    assert numbers == [uniform(one, k) for k in range(2000)]
    assert numbers != [uniform(other, k) for k in range(2000)]
    assert 0 <= min(numbers) < 0.01
    assert 0.99 < max(numbers) < 1
    assert sum(numbers) / len(numbers) == pytest.approx(0.5, abs=0.03)


def test_durations_lie_on_the_scan_cycle_and_last_at_least_four_scans() -> None:
    assert between(1.0, 2.0, 0.33) == 1_300_000
    assert between(0.0, 0.1, 0.5) == 400_000


def track() -> Track:
    def episode(_: int) -> list[Step]:
        return [Step("on", 3 * SECOND_US, 100.0, part_us=SECOND_US, power_kw=2.0), Step("off", SECOND_US, 20.0)]

    return Track(episode, tau_s=1.0, temperature=20.0, parts=7)


def test_a_track_has_no_jumps_and_keeps_its_counts() -> None:
    machine = track()
    before, after = machine.at(3 * SECOND_US - 1), machine.at(3 * SECOND_US)
    assert (before.name, after.name) == ("on", "off")
    assert after.temperature == pytest.approx(before.temperature, abs=1e-3)
    assert machine.at(40 * SECOND_US).parts == 7 + 10 * 3
    assert machine.at(40 * SECOND_US).energy_kws == pytest.approx(10 * 3 * 2.0)


def test_a_track_may_be_asked_in_any_order_and_forgets_without_effect() -> None:
    instants = [5, 9_000, 0, 4_321, 9_000, 77]
    asked = track()
    assert [asked.at(t * SECOND_US) for t in instants] == [track().at(t * SECOND_US) for t in instants]

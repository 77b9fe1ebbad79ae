from itertools import pairwise

import pytest

from deploy.demo import rules, site
from deploy.demo.machines import Plant, Value
from deploy.demo.packml import LEGAL, State
from deploy.demo.physics import SCAN_US, SECOND_US

MINUTE = range(0, 60 * SECOND_US, SCAN_US)
SEEDS = (1, 2, 3)


def series(plant: Plant, asset: str, item: str, times: range) -> list[Value]:
    return [plant.machines[asset].at(t)[item] for t in times]


def test_the_same_seed_makes_the_same_plant_and_another_seed_another() -> None:
    times = range(0, 120 * SECOND_US, 700_000)
    one, again, other = ([plant.at(t) for t in times] for plant in (Plant(7), Plant(7), Plant(8)))
    assert one == again
    assert one != other


def test_values_do_not_depend_on_when_one_looked_before() -> None:
    walked, jumped = Plant(1), Plant(1)
    for t in MINUTE:
        walked.at(t)
    assert walked.at(3600 * SECOND_US) == jumped.at(3600 * SECOND_US)


def test_there_are_twelve_machines_of_three_types() -> None:
    kinds = [name.rsplit("-", 1)[0] for name in Plant(1).machines]
    assert {kind: kinds.count(kind) for kind in kinds} == {"press": 4, "furnace": 4, "conveyor": 4}


@pytest.mark.parametrize("seed", SEEDS)
def test_presses_move_by_legal_edges_only_and_no_state_is_too_short_to_be_seen(seed: int) -> None:
    plant = Plant(seed)
    for n in range(1, 5):
        states = series(plant, f"press-{n:02d}", "state", range(0, 600 * SECOND_US, SCAN_US))
        edges = {(State(one), State(other)) for one, other in pairwise(states) if one != other}  # type: ignore[arg-type]
        assert edges <= LEGAL
        assert len(edges) > 8


@pytest.mark.parametrize("seed", SEEDS)
def test_each_machine_changes_its_state_several_times_and_overheats_within_a_minute(seed: int) -> None:
    plant, types = Plant(seed), rules.load(site.PLANT)
    for asset, machine in plant.machines.items():
        of_type = types[asset.rsplit("-", 1)[0]]
        states = series(plant, asset, of_type.durations[0].item, MINUTE)
        assert sum(one != other for one, other in pairwise(states)) >= 5
        for alarm in of_type.alarms:
            over = [machine.clean(t)[alarm.item] > alarm.above + 1 for t in MINUTE]
            longest_us = max(len(run) for run in "".join("x" if o else " " for o in over).split()) * SCAN_US
            assert longest_us > alarm.on_delay_us, (asset, alarm.metric)
            last_over = max(t for t, o in zip(MINUTE, over, strict=True) if o)
            assert any(machine.clean(t)[alarm.item] < alarm.clear_below for t in range(0, last_over, SCAN_US))


def test_temperatures_and_powers_stay_within_what_the_machine_can_do() -> None:
    plant = Plant(1)
    bounds = {"press": (39, 106), "furnace": (398, 962)}
    for t in range(0, 300 * SECOND_US, 500_000):
        for (asset, item), value in plant.at(t).items():
            low, high = bounds.get(asset.split("-")[0], (0, 0))
            assert item != "temperature" or low <= float(value) <= high
            assert item != "motor_temperature" or 29 <= float(value) <= 111
            assert item != "power" or 0 <= float(value) <= 80


def test_totals_never_fall_and_grow_only_while_the_machine_works() -> None:
    plant = Plant(1)
    for asset in plant.machines:
        for item in {"parts", "energy"} & set(plant.machines[asset].at(0)):
            totals = [int(v) for v in series(plant, asset, item, MINUTE)]
            assert all(one <= other for one, other in pairwise(totals))
            assert totals[-1] > totals[0]
    parts, states = (series(plant, "conveyor-01", item, MINUTE) for item in ("parts", "state"))
    steps = zip(pairwise(parts), states[:-1], strict=True)
    assert all(state == 1 for (one, other), state in steps if one != other)


def test_sixteen_bit_counters_roll_over_in_the_first_minute() -> None:
    plant = Plant(1)
    for asset in ("conveyor-01", "conveyor-03", "conveyor-04"):
        machine = plant.machines[asset]
        assert int(machine.at(0)["parts"]) < 65536 < int(machine.at(60 * SECOND_US)["parts"])

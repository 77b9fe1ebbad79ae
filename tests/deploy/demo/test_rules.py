from deploy.demo import rules, site
from deploy.demo.rules import Alarm, Durations


def test_the_rules_of_the_plant_folder_are_read() -> None:
    types = rules.load(site.PLANT)
    assert set(types) == {"machine", "press", "furnace", "conveyor"}
    assert types["press"].alarms == [Alarm("overheat", "temperature", 90.0, 80.0, 5_000_000, 0)]
    assert types["furnace"].durations == [Durations("cycle", "phase")]
    assert types["conveyor"].names["state"] == {"0": "Stopped", "1": "Running", "2": "Jammed"}


def test_a_type_has_what_it_extends() -> None:
    assert rules.load(site.PLANT)["press"].deadbands == {"power": 0.1, "temperature": 0.2}

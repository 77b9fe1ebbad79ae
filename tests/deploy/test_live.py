"""The live table: what messages mean, and that the picture fits its terminal and says what is wrong in words."""

import msgspec
from rich.console import Console

from assets.definition import Definition, Item
from assets.fields import Value
from assets.stream import AVAILABILITY, GAP, MODEL, UNAVAILABLE
from deploy.live_model import LiveModel
from deploy.live_view import Picture
from deploy.progress import Progress
from operators.live_values import ObservationPayload, StatePayload

SECOND_US = 1_000_000
NOW = 1_795_000_000 * SECOND_US
BAD_SENSOR_FAILURE = 0x808C0000
PRESS = Definition(
    type="press",
    path="acme/hamburg/forming/line-1",
    source="forming",
    items={
        "state": Item(category="EVENT", source="forming", address="a", states="packml"),
        "temperature": Item(source="forming", address="b", unit="Cel", stale_after=30 * SECOND_US),
    },
    derive={
        "running": {"rule": "durations", "item": "state"},
        "overheat": {"rule": "alarm", "item": "temperature", "above": 90.0},
        "availability": {"rule": "availability"},
    },
)


def observe(model: LiveModel, asset: str, item: str, value: Value, age_s: float = 1, status: int = 0) -> None:
    time = NOW - int(age_s * SECOND_US)
    told = ObservationPayload(asset, item, value, None, status, time, time, (0, 1, 0), "forming", 0)
    model.take(f"assets.acme.hamburg.forming.line-1.{asset}.{item}", msgspec.json.encode(told))


def derive(model: LiveModel, asset: str, metric: str, value: Value, age_s: float = 1) -> None:
    time = NOW - int(age_s * SECOND_US)
    origin = (0, 1, 0)
    told = StatePayload(asset, metric, value, None, 0, time, None, None, None, "0:1:0:m:0", origin, origin)
    model.take(f"state.acme.hamburg.forming.line-1.{asset}.{metric}", msgspec.json.encode(told))


def press(model: LiveModel, asset: str = "press-01", state: str = "Execute") -> None:
    observe(model, asset, MODEL, PRESS.value())
    observe(model, asset, "temperature", 81.25)
    derive(model, asset, "availability", "AVAILABLE", 100)
    derive(model, asset, "running", state, 75)


def drawn(model: LiveModel, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(Picture(model, Progress(lag={"derive": 3}), NOW))
    return capture.get().splitlines()


def line_of(model: LiveModel, asset: str, width: int = 80) -> str:
    return next(line for line in drawn(model, width) if line[1:].startswith(asset))


def test_an_asset_shows_its_place_state_time_in_state_value_and_age() -> None:
    model = LiveModel()
    press(model)
    assert any(line.startswith("acme/hamburg/forming/line-1") and "temperature °C" in line for line in drawn(model))
    assert line_of(model, "press-01").split() == ["press-01", "▶", "Execute", "1m15s", "81.25", "1s"]


def test_an_asset_out_of_reach_says_so_in_a_word() -> None:
    model = LiveModel()
    press(model)
    derive(model, "press-01", "availability", UNAVAILABLE, 5)
    assert "✕ UNAVAILABLE      5s" in line_of(model, "press-01")


def test_an_asset_is_out_of_reach_as_soon_as_its_link_is_said_to_be() -> None:
    model = LiveModel()
    observe(model, "press-01", MODEL, PRESS.value())
    observe(model, "press-01", AVAILABILITY, UNAVAILABLE)
    assert "UNAVAILABLE" in line_of(model, "press-01")


def test_a_bad_value_shows_its_quality_and_no_number() -> None:
    model = LiveModel()
    press(model)
    observe(model, "press-01", "temperature", None, status=BAD_SENSOR_FAILURE)
    assert "✕ SensorFailu…" in line_of(model, "press-01")


def test_an_uncertain_value_is_marked() -> None:
    model = LiveModel()
    press(model)
    observe(model, "press-01", "temperature", 312.5, status=0x40940000)
    assert "~ 312.5" in line_of(model, "press-01")


def test_a_value_older_than_its_item_allows_is_stale() -> None:
    model = LiveModel()
    press(model)
    observe(model, "press-01", "temperature", 80.0, age_s=31)
    assert line_of(model, "press-01").split()[-2:] == ["80", "stale"]


def test_an_active_alarm_marks_its_asset_and_is_listed() -> None:
    model = LiveModel()
    press(model)
    derive(model, "press-01", "overheat", "ACTIVE", 12)
    assert line_of(model, "press-01").startswith("▲press-01")
    assert any("▲ press-01 overheat (temperature) for 12s" in line for line in drawn(model))


def test_gaps_are_counted_once_and_the_newest_is_told() -> None:
    model = LiveModel()
    press(model)
    gap = {"items": [], "from": NOW - 9 * SECOND_US, "to": NOW - 4 * SECOND_US, "reason": "no reply", "lost": 7}
    observe(model, "press-01", GAP, gap)
    observe(model, "press-01", GAP, gap)
    assert any("1   newest: press-01, 5s, ended 4s ago: no reply, 7 values lost" in line for line in drawn(model))


def test_a_message_that_cannot_be_read_changes_nothing() -> None:
    model = LiveModel()
    model.take("state.a.b.c.d.press-01.running", b"not json")
    model.take("assets.a.b.c.d.press-01.x", b"{}")
    assert (model.unreadable, model.assets) == (2, {})


def test_the_picture_fits_any_terminal() -> None:
    model = LiveModel()
    for number in range(12):
        press(model, f"press-{number:02}")
    for width, height in ((80, 24), (60, 20), (200, 60)):
        lines = drawn(model, width, height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width


def test_a_low_terminal_shows_first_who_needs_someone() -> None:
    model = LiveModel()
    for number in range(100):
        press(model, f"press-{number:02}", "Aborted" if number == 77 else "Execute")
    derive(model, "press-55", "overheat", "ACTIVE")
    text = "\n".join(drawn(model))
    assert "press-77" in text
    assert "▲press-55" in text
    assert "more assets; shown are those that need someone first" in text

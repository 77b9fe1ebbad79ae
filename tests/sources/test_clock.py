"""The gateway's clock follows the computer's without bringing what is read out of order."""

import pytest

from sources._clock import LARGE_US, Clock

S = 1_000_000
NOON = 1_763_640_000 * S


class Computer:
    """A computer whose clock is `off` from what passes."""

    def __init__(self) -> None:
        self.passed = 0
        self.off = NOON
        self.clock = Clock(lambda: self.passed + self.off, lambda: self.passed)

    def after(self, seconds: float) -> int:
        """What the gateway's clock says so much later."""
        self.passed += int(seconds * S)
        return self.clock.now()


def test_it_is_the_computers_clock() -> None:
    computer = Computer()
    assert [computer.after(seconds) for seconds in (0, 1, 0, 3600)] == [NOON, NOON + S, NOON + S, NOON + 3601 * S]


def test_a_leap_forward_is_believed_at_once_and_said_when_it_is_large(caplog: pytest.LogCaptureFixture) -> None:
    computer = Computer()
    computer.after(0)
    computer.off += 5 * S
    assert computer.after(1) == NOON + 6 * S
    assert caplog.messages == []
    computer.off += 3600 * S
    assert computer.after(1) == NOON + 3607 * S
    assert caplog.messages == ["the computer's clock leapt 1h ahead; so do the instants of what is read"]


def test_a_small_step_back_is_taken_slowly_and_never_turns_time_back() -> None:
    computer = Computer()
    computer.after(0)
    computer.off -= 2 * S
    assert computer.after(0) == NOON
    assert computer.after(1) == NOON + S * 9 // 10
    said = [computer.after(0.1) for _ in range(300)]
    assert said == sorted(said)
    assert said[-1] == NOON - 2 * S + 31 * S


def test_a_large_step_back_is_believed_at_once_and_said(caplog: pytest.LogCaptureFixture) -> None:
    computer = Computer()
    computer.after(0)
    computer.off -= 3600 * S
    assert computer.after(1) == NOON - 3599 * S
    assert "was set back by 1h" in caplog.text
    assert computer.after(1) == NOON - 3598 * S
    assert len(caplog.messages) == 1


def test_small_steps_back_do_not_add_up_for_ever() -> None:
    computer = Computer()
    computer.after(0)
    for _ in range(20):
        computer.off -= 40 * S
        assert computer.after(1) - (computer.passed + computer.off) <= LARGE_US

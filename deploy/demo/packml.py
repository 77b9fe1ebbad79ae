"""PackML as the presses live it: the states with their numbers, the legal edges and the ways a run is interrupted.

Numbers and edges follow ISA-TR88.00.02 as the OPC UA PackML companion specification (1.01) gives them.
"""

from enum import IntEnum


class State(IntEnum):
    """The 17 states with the numbers that a device tells."""

    Clearing = 1
    Stopped = 2
    Starting = 3
    Idle = 4
    Suspended = 5
    Execute = 6
    Stopping = 7
    Aborting = 8
    Aborted = 9
    Holding = 10
    Held = 11
    Unholding = 12
    Suspending = 13
    Unsuspending = 14
    Resetting = 15
    Completing = 16
    Complete = 17


S = State
ACTING = (
    (S.Clearing, S.Stopped),
    (S.Stopping, S.Stopped),
    (S.Resetting, S.Idle),
    (S.Starting, S.Execute),
    (S.Suspending, S.Suspended),
    (S.Unsuspending, S.Execute),
    (S.Holding, S.Held),
    (S.Unholding, S.Execute),
    (S.Completing, S.Complete),
    (S.Aborting, S.Aborted),
)
"""Acting states end by themselves (state complete)."""
COMMANDED = (
    (S.Stopped, S.Resetting),
    (S.Complete, S.Resetting),
    (S.Idle, S.Starting),
    (S.Execute, S.Suspending),
    (S.Suspended, S.Unsuspending),
    (S.Execute, S.Holding),
    (S.Held, S.Unholding),
    (S.Execute, S.Completing),
    (S.Aborted, S.Clearing),
)
STOPPABLE = frozenset(S) - {S.Clearing, S.Stopped, S.Stopping, S.Aborting, S.Aborted}
ABORTABLE = frozenset(S) - {S.Aborting, S.Aborted}
LEGAL = frozenset({*ACTING, *COMMANDED, *((s, S.Stopping) for s in STOPPABLE), *((s, S.Aborting) for s in ABORTABLE)})
"""The 46 legal of the 272 ordered pairs."""

BEFORE_FIRST_RUN = (S.Stopped, S.Resetting, S.Idle, S.Starting)
INTERRUPTIONS = (
    (S.Suspending, S.Suspended, S.Unsuspending),
    (S.Holding, S.Held, S.Unholding),
    (S.Completing, S.Complete, S.Resetting, S.Idle, S.Starting),
    (S.Stopping, S.Stopped, S.Resetting, S.Idle, S.Starting),
    (S.Aborting, S.Aborted, S.Clearing, S.Stopped, S.Resetting, S.Idle, S.Starting),
)
"""Each way out of Execute and back into it."""
WAITING = frozenset({S.Stopped, S.Idle, S.Suspended, S.Aborted, S.Held, S.Complete})

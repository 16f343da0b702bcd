"""Messages that come more than once.

ZeroMQ never delivers one twice. But peers say again what they have said: who they are when they are asked
to, all that they want after a break, where data lies. So most messages are such that once more changes
nothing. Here a run has each of these come twice in a row, and some once more when all that followed from
them has happened, on the same connection. Data that is acquired once more may be what has just been let go:
in such a run the audit may find that, and mend it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed.codec import decode, encode
from distributed.messages import (
    Abandoned,
    Acquire,
    Alive,
    Answer,
    Ask,
    Audit,
    Audited,
    Broadcast,
    Call,
    Cancel,
    Cleared,
    ClientHello,
    Concede,
    Contend,
    Denied,
    Died,
    Discharge,
    Done,
    Drop,
    Ended,
    Entrust,
    Errors,
    Failed,
    Files,
    Finished,
    Fire,
    Forget,
    Free,
    Get,
    Goodbye,
    Granted,
    Heard,
    Heartbeat,
    HelloAgain,
    Holds,
    IsLocked,
    Kill,
    Missing,
    More,
    NannyHello,
    Part,
    Pending,
    PutFile,
    Refused,
    Release,
    Replicate,
    Reply,
    Restart,
    Retract,
    Returned,
    Run,
    Scatter,
    Seceded,
    StartAgain,
    Started,
    Stop,
    Stuck,
    Submit,
    Unfetchable,
    Unknown,
    Unload,
    Upload,
    Want,
    Warn,
    Welcome,
    WorkerHello,
)

if TYPE_CHECKING:
    from tests.sim.net import Frames, Wire

# At any time: they name an assignment, a contender or a request, whose number is not used again; or are
# about a process; or say what can be had again if it was not so.
ALWAYS = (
    Started, Done, Errors, Unfetchable, Unknown, Returned, Abandoned, Seceded, Drop, Retract, Acquire,
    Stuck, Forget, Heard,
    Contend, Concede, Granted, Denied, IsLocked,
    Ask, Replicate, Reply, Answer, Audit, Audited,
    NannyHello, Alive, Died, Heartbeat, Kill, HelloAgain, Warn,
)  # fmt: skip
# Only before anything else: they say what is true, or wanted, at this point of a stream that is in order.
# After what came later they would take it back: an old Release the wish for what has been submitted again,
# an old Finished the word that this is not there yet.
AT_ONCE = (
    ClientHello, WorkerHello, Submit, Want, Fire, Entrust, Discharge, Finished, Failed,
    Release, Cancel, Missing, Scatter, Holds, Ended, Cleared,
    Pending, Free, Unload, Welcome, Upload, PutFile, Files, StartAgain,
)  # fmt: skip
NEVER = (
    # The scheduler gives each number once, on the connection that it has; a worker does not look for it
    # among those that it has, for that would be done for every task.
    Run,
    # Whoever is asked twice does it twice: a call runs again, a cluster is restarted again.
    Broadcast, Call, Restart,
    # Nothing comes after these.
    Goodbye, Stop, Refused,
    # Streams count what they have sent and what they have got.
    Get, Part, More,
)  # fmt: skip
SPREAD_SECONDS = 5.0


class Repeats:
    def __init__(self) -> None:
        self.at_once = frozenset((*ALWAYS, *AT_ONCE))
        self.always = frozenset(ALWAYS)

    def of(self, wire: Wire, up: bool, frames: Frames) -> Frames:
        """What arrives on the wire in place of these frames; the rest comes later."""
        if len(frames) != 1:
            return frames
        world = wire.net.world
        found = []
        for message in decode(frames[0]):
            found += [message] * (1 + (type(message) in self.at_once))
            if type(message) in self.always:
                again = [encode([message])]
                delay = world.random.random() * SPREAD_SECONDS
                world.at(delay, lambda f=again: wire.arrive(up, f))  # type: ignore[misc]
        return [encode(found)]

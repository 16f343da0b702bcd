"""One process that pretends to be many: a virtual clock, one source of chance, and what happens when.

Everything that is going to happen stands in one heap, by its time. Nothing sleeps: the clock jumps. All
chance comes from one seeded generator, so a seed is a whole history.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import Any

# How far the clock of a process may be off, as a share of the time that has passed.
MAX_SKEW = 0.01
# How long a process that is not slow takes to notice that something has come.
REACTION_SECONDS = 0.0005
# A whole history has a few thousand, seldom some ten thousand.
MAX_EVENTS = 500_000
# A message shown in a trace is cut after so many characters.
SHOWN = 3000

# Somebody or something with an attribute `alive`, and which of its doings it is.
Label = tuple[Any, Any]


class World:
    def __init__(self, seed: int, traced: bool = False) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 0.0
        self.events = 0  # that cores have handled
        self.traced = traced
        self.trace: list[str] = []
        self._heap: list[tuple[float, int, Process | None, Callable[[], object]]] = []
        self._scheduled = 0

    def at(self, delay: float, act: Callable[[], object], process: Process | None = None) -> None:
        """Do something after so many virtual seconds; what a process does, as it can do it then."""
        self._scheduled += 1
        heappush(self._heap, (self.now + delay, self._scheduled, process, act))

    def due(self, label: Label, delay: float, act: Callable[[], object]) -> None:
        """As `at`, for what others may want to decide the moment of: see `machine.py`. What has one
        label happens in the order in which it was given."""
        self.at(delay, act)

    def run_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until the condition holds; false if it does not within so many seconds."""
        heap = self._heap
        end = self.now + seconds
        look_at = self.now
        while heap and heap[0][0] <= end:
            self.now, _, process, act = heappop(heap)
            if process is None or (process.alive and not process.paused):
                act()
            else:
                process.hold_up(act)
            # Conditions look at whole tables: not after each event.
            if self.now >= look_at:
                if condition():
                    return True
                look_at = self.now + 0.1
                assert self.events < MAX_EVENTS, "a livelock: so much has happened, and it goes on"
        self.now = max(self.now, end)
        return condition()

    def say(self, who: str, what: str, thing: Any = "") -> None:
        """A line for the trace. Ask `traced` first where it costs time to say it."""
        if self.traced:
            text = str(thing)
            self.trace.append(f"{self.now:12.6f} {who:<12} {what} {text[:SHOWN]}")


class Clock:
    """A process's own. It began at another moment than others, goes a little faster or slower, and may
    jump ahead, as on a machine that was suspended; it never goes back."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rate = 1 + world.random.uniform(-MAX_SKEW, MAX_SKEW)
        self._offset = world.random.uniform(0.0, 1e6)

    def now(self) -> float:
        return self._offset + self._rate * self._world.now

    def until(self, moment: float) -> float:
        """How long the world takes until then."""
        return max(0.0, moment - self.now()) / self._rate

    def jump(self, seconds: float) -> None:
        self._offset += seconds


class Timer:
    def __init__(self, due: float, act: Callable[[], object]) -> None:
        self.due = due  # on the clock of its process
        self.act = act


class Process:
    """Something that lives, is slow or stands still, and dies; its channels die with it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.paused = False
        self.slowness = 1.0
        self.clock = Clock(world)
        self.channels: dict[Any, None] = {}
        self._woken = False
        self._held_up: list[Callable[[], object]] = []
        self._timers: dict[Timer, None] = {}

    def turn(self) -> None:
        """Read all that has come, decide, and act: what a shell's loop does each time round."""
        raise NotImplementedError

    def wake(self) -> None:
        """Something has come."""
        if not self._woken:
            self._woken = True
            self.soon(self._awake)

    def _awake(self) -> None:
        self._woken = False
        self.turn()

    def cut_off(self, other: Process) -> None:
        """A connection that we have made has just broken. Only the world knows of it yet."""

    def later(self, delay: float, act: Callable[[], object]) -> None:
        """Do something of our own after so long, unless we are dead then, or stand still: then after."""
        self.world.at(delay, act, self)

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """As `later`, by our own clock: what a shell does that compares it with the time."""
        timer = Timer(self.clock.now() + seconds, act)
        self._timers[timer] = None
        self._set(timer)

    def _set(self, timer: Timer) -> None:
        self.world.at(self.clock.until(timer.due), partial(self._ring, timer))

    def _ring(self, timer: Timer) -> None:
        if timer in self._timers:
            del self._timers[timer]
            self._act(timer.act)

    def jump(self, seconds: float) -> None:
        """Our clock jumps ahead."""
        self.world.say(self.name, "has a clock that jumps by", f"{seconds:.1f} s")
        self.clock.jump(seconds)
        for timer in self._timers:
            self._set(timer)  # it rings earlier than it was to

    def due(self, label: Label, delay: float, act: Callable[[], object]) -> None:
        self.world.due(label, delay, lambda: self._act(act))

    def _act(self, act: Callable[[], object]) -> None:
        if self.alive and not self.paused:
            act()
        else:
            self.hold_up(act)

    def hold_up(self, act: Callable[[], object]) -> None:
        """We cannot do it now: when we go on, or never."""
        if self.alive:
            self._held_up.append(act)

    def soon(self, act: Callable[[], object]) -> None:
        """As another thread of ours would do it."""
        world = self.world
        world.at(world.random.random() * REACTION_SECONDS * self.slowness, act, self)

    def pause(self, seconds: float) -> None:
        """Stand still, as if stopped by a signal."""
        if not self.paused:
            self.paused = True
            self.world.say(self.name, "stands still for", f"{seconds:.1f} s")
            self.world.at(seconds, self.resume)

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            self.world.say(self.name, "goes on")
            held_up, self._held_up = self._held_up, []
            delay = self.world.random.random() * REACTION_SECONDS
            for act in held_up:  # one after the other
                self.later(delay, act)

    def die(self, reason: str) -> None:
        if self.alive:
            self.alive = False
            self.world.say(self.name, "dies:", reason)
            for channel in tuple(self.channels):
                channel.close()

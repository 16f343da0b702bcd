"""Who takes part: clients, workers and nannies, by id and by connection."""

from __future__ import annotations

from typing import Any

from distributed.core.states import Client, Member, Nanny, Peer, Worker
from distributed.messages import ClientHello, NannyHello, WorkerHello

# A worker that has been silent for this many seconds may have died with its machine: its name is free for
# the next one. A worker that lives is heard of at least every two seconds.
NAME_SECONDS = 10.0


class Doomed:
    """Stands for a peer that nobody listens to any more."""


DOOMED = Doomed()


class Members:
    """Each member has one peer, its newest connection; none while that is broken."""

    def __init__(self) -> None:
        self.peers: dict[Peer, Member | Doomed] = {}
        self.clients: dict[str, Client] = {}
        self.workers: dict[str, Worker] = {}
        self.nannies: dict[str, Nanny] = {}

    def all(self) -> tuple[Member, ...]:
        return (*self.clients.values(), *self.workers.values(), *self.nannies.values())

    def enter(self, member: Member, peer: Peer, now: float) -> None:
        """The member speaks through this connection from now on."""
        if self.peers.get(member.peer) is member:
            del self.peers[member.peer]
        self.peers[peer] = member
        if member.peer != peer:
            member.out = []  # it was for the old one
        member.peer = peer
        member.gone_since = None
        member.last_seen = now
        if isinstance(member, Client):
            self.clients[member.id] = member
        elif isinstance(member, Worker):
            self.workers[member.id] = member
        elif isinstance(member, Nanny):
            self.nannies[member.id] = member

    def leave(self, member: Member) -> None:
        """It does not take part any more. Should it speak again, it is asked to say hello."""
        if self.peers.get(member.peer) is member:
            del self.peers[member.peer]
        # Ids are those of one kind: a stranger may have come as another with the same.
        for table in (self.clients, self.workers, self.nannies):
            if table.get(member.id) is member:
                del table[member.id]

    def is_doomed(self, peer: Peer) -> bool:
        return self.peers.get(peer) is DOOMED

    def name_is_taken(self, hello: WorkerHello, now: float) -> str:
        """Which worker lives and has the name of a new one, in words; empty if none has.

        A worker without a name is called by its address. A worker with the same nanny is the predecessor.
        """
        if hello.name == hello.address:
            return ""
        for worker in self.workers.values():
            alive = worker.gone_since is None and now - worker.last_seen < NAME_SECONDS
            ours = bool(hello.nanny) and worker.nanny == hello.nanny
            if worker.name == hello.name and alive and not ours:
                reason = f"the name {hello.name} belongs to the worker at {worker.address}"
                return f"{reason}: give this one another --name"
        return ""

    def doom(self, peer: Peer) -> None:
        """Ignore whatever still comes from this connection, until it closes."""
        self.peers[peer] = DOOMED


def says_hello_again(member: Member | Doomed, hello: Any) -> bool:
    """Whether the hello is of a member that has said it before."""
    return isinstance(member, _KINDS[type(hello)]) and member.id == hello[0]


_KINDS: dict[Any, type[Member]] = {
    ClientHello: Client,
    WorkerHello: Worker,
    NannyHello: Nanny,
}

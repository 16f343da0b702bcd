"""Dask graphs to tasks: which work a graph asks for, under which keys, in which order.

In this order: another name for a task is no task; what is not needed is left out; small data goes into the
tasks that use it; a chain of tasks of which each only feeds the next becomes one task; `ordering.py` says
which comes first. Nothing here recurses along the graph, which may be a million tasks deep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef, convert_legacy_task

from distributed.core.client_events import Calls
from distributed.core.entries import Item
from distributed.errors import SerializationError
from distributed.keys import PLAIN, wire_key
from distributed.ordering import Cycle, order
from distributed.packing import (
    MAX_ARGUMENT_BYTES,
    Handle,
    Ref,
    handles_in,
    holds_handles,
    pack_call,
)
from distributed.plaincalls import PlainCall, plain_call
from distributed.programs import Compiler, Part, references
from distributed.recipes import Function, fresh_key, function_of
from distributed.transport import Frame

# Stands before the wire key of a future inside a graph. No key that a user writes begins like this.
_FUTURE = "\x1ffuture "
# Tasks of a chain that become one task: more would only be long to send, and long to do again.
MAX_FUSED = 100
# Longer texts that several tasks use are tasks of their own.
MAX_INLINE_TEXT = 200
# One message: enough for its own cost to vanish, few enough that the first tasks run while the last are
# being packed.
MESSAGE_TASKS = 1_000
# The same for data: chunks that come from the session's memory are not held in one piece once more.
MESSAGE_BYTES = 64 << 20
# Names in the description of a cycle.
MAX_SHOWN = 20

Options = dict[str, Any]


class GraphPart(NamedTuple):
    """Some of the tasks of a graph, and what they depend on that no part before does: futures by wire
    key, and data by wire key that does not travel in the messages."""

    calls: Calls
    futures: dict[str, Handle]
    data: dict[str, Frame]


class GraphCalls:
    """The tasks that compute `keys`, nested lists of keys of the graph, in parts: each is packed when it is
    asked for, so that those before it can run meanwhile.

    `options(key)` are those of a task, see `codec.check_options`. `find(key)` is the future for a key that
    the graph refers to and does not have, None if there is none. What is called as one of those `kept`
    stays a task of its own, for its result may be there already. With `ship` large data is not in the
    messages: the caller has to scatter it before it submits the part.

    Raises KeyError for a key that nobody has, RuntimeError that shows the cycle for a graph that has one;
    and when a part is packed SerializationError or ValueError for data that cannot be sent.
    """

    def __init__(
        self,
        dsk: Mapping[Any, Any],
        keys: Any,
        options: Callable[[Any], Options | None] = lambda key: None,
        find: Callable[[Any], Handle | None] = lambda key: None,
        kept: Collection[Any] = (),
        ship: bool = False,
    ) -> None:
        self._graph = graph = _Graph(dsk, find)
        self._targets = {key: graph.resolve(key) for key in dict.fromkeys(_flatten(keys))}
        self._wanted = set(self._targets.values())
        tasks = _fuse(graph, self._wanted, options, kept)
        self._vertices = _ordered(tasks, self._targets.values())
        self._packer = _Packer(graph, options, _shown(self._targets), ship)
        self._frontier: _Frontier | None = None
        # A result that may be there already may need nothing of what comes before it.
        if len(tasks) > MESSAGE_TASKS and not (kept and any(name in kept for name in tasks)):
            self._frontier = _Frontier(self._vertices, self._wanted)

    def __iter__(self) -> Iterator[GraphPart]:
        part: list[_Vertex] = []
        for vertex in self._vertices:
            if self._packer.is_full:
                yield self._take(part, more=True)
                part = []
            self._packer.add(vertex, vertex.name in self._wanted)
            part.append(vertex)
        yield self._take(part, more=False)

    def _take(self, part: list[_Vertex], more: bool) -> GraphPart:
        packed = self._graph.packed
        # With the last part all is complete, and need not be listed.
        ahead, complete = self._frontier.move(part) if self._frontier and more else ((), ())
        ahead_keys = tuple([packed[name] for name in ahead])
        complete_keys = tuple([packed[name] for name in complete])
        blobs, groups, futures, data = self._packer.take()
        calls = Calls(blobs, groups, more, ahead_keys, complete_keys, self)
        return GraphPart(calls, futures, data)

    @property
    def wires(self) -> dict[Any, str]:
        """The wire key of each key that was asked for. Known when all has been packed."""
        packed, wires = self._graph.packed, self._graph.wires
        return {key: packed.get(name) or wires[name] for key, name in self._targets.items()}


def _flatten(keys: Any) -> Iterator[Any]:
    stack = [keys]
    while stack:
        found = stack.pop()
        if isinstance(found, list):
            stack.extend(reversed(found))
        else:
            yield found


def _shown(targets: Mapping[Any, Any]) -> dict[Any, Any]:
    """What to call tasks that were asked for by another name than their own."""
    return {name: key for key, name in targets.items() if name not in targets}


class _Graph:
    """The nodes of a graph, and the futures that they may refer to."""

    def __init__(self, dsk: Mapping[Any, Any], find: Callable[[Any], Handle | None]) -> None:
        self.packed: dict[Any, str] = {}  # wire keys of nodes
        self.wires: dict[Any, str] = {}  # of futures
        self.futures: dict[str, Handle] = {}  # by wire key
        self.data: list[Any] = []  # names of needed nodes that are data
        self._targets: dict[Any, Any] = {}  # of aliases
        self._find = find
        self._dsk = dsk
        self._names = set(dsk)  # what dask is to take for a name
        self._nodes: dict[Any, GraphNode | None] = {}
        self._calls: dict[Any, PlainCall | None] = {}

    def wire(self, name: Any) -> str | None:
        """The key on the wire, of a node that has been packed or of a future."""
        return self.packed.get(name) or self.wires.get(name)

    def call(self, name: Any) -> PlainCall | None:
        """The node, if it is a plain call."""
        call = self._calls.get(name, self)
        if call is self:  # not looked at yet
            call = self._calls[name] = plain_call(self._dsk.get(name), self._names)
        return call

    def node(self, name: Any) -> GraphNode | None:
        """The node, if there is one; as dask has it."""
        if name not in self._nodes:
            self._nodes[name] = self._made(name) if name in self._dsk else None
        return self._nodes[name]

    def _made(self, name: Any) -> GraphNode | None:
        node = convert_legacy_task(name, self._named(self._dsk[name]), self._names)
        if not isinstance(node, GraphNode):
            return DataNode(name, node)
        if isinstance(node, Alias) and node.target == name:
            return None  # it only says that there is something of that name, somewhere else
        return node

    def _named(self, value: Any) -> Any:
        """The same with names in place of futures, where dask looks for names."""
        if isinstance(value, GraphNode) or not holds_handles(value):
            return value
        return self._renamed(value)

    def _renamed(self, value: Any) -> Any:
        if isinstance(value, Handle):
            name = self._note(_FUTURE + value.wire, value)
            self._names.add(name)
            return name
        if not isinstance(value, (list, tuple, set, frozenset)):
            return value
        kind: Any = type(value)
        items = map(self._renamed, value)
        return kind(*items) if hasattr(kind, "_fields") else kind(items)

    def _note(self, name: Any, handle: Handle) -> Any:
        self.wires[name] = handle.wire
        self.futures[handle.wire] = handle
        return name

    def resolve(self, name: Any, user: Any = None) -> Any:
        """The name of the node or the future behind aliases. `user` is the node that refers to it."""
        if self.call(name) is not None:
            return name
        node = self.node(name)
        if node is None:
            return self._outside(name, user)
        if not isinstance(node, Alias):
            return name
        target = self._targets.get(name)
        if target is None:
            target = self._follow(name)
        return target

    def _follow(self, name: Any) -> Any:
        names: dict[Any, None] = {}
        while isinstance(node := self.node(name), Alias):
            if name in names:
                raise RuntimeError(
                    f"the graph has a cycle: {name!r} is only another name for itself"
                )
            names[name] = None
            name = self._targets.get(node.target, node.target)
        if node is None:
            name = self._outside(name, next(reversed(names)))
        self._targets.update(dict.fromkeys(names, name))
        return name

    def _outside(self, name: Any, user: Any) -> Any:
        """A name that is not in the graph must be that of a future."""
        handle = None if user is None else _namesake(self.node(user), name)
        if handle is not None:
            return self._note(_FUTURE + handle.wire, handle)
        if name in self.wires:
            return name
        handle = self._find(name)
        if handle is None:
            needed = f"{name!r}" if user is None else f"{user!r} needs {name!r}, which"
            raise KeyError(f"{needed} is not in the graph, and there is no future of that name")
        return self._note(name, handle)

    def needed(self, names: Iterable[Any]) -> dict[Any, tuple[Any, ...]]:
        """The nodes that the names depend on, themselves included, and what each needs: names of other
        nodes, or of futures."""
        found: dict[Any, tuple[Any, ...]] = {}
        others: set[Any] = set()  # met on the way, that are no nodes, or only stand for one
        stack = list(names)
        while stack:
            name = stack.pop()
            if name in found or name in others:
                continue
            call = self.call(name)
            if call is not None:
                inputs = call.names
            else:
                node = self.node(name)
                if node is None or isinstance(node, Alias):
                    others.add(name)
                    stack += () if node is None else (self.resolve(name),)
                    continue
                if isinstance(node, DataNode):
                    self.data.append(name)
                inputs = tuple(dict.fromkeys(references(node)))
            found[name] = inputs
            stack += inputs
        return self._without(others, found) if others else found

    def _without(
        self, others: set[Any], needed: dict[Any, tuple[Any, ...]]
    ) -> dict[Any, tuple[Any, ...]]:
        """The same, but what stands behind these names in place of them."""
        for name, inputs in needed.items():
            if not others.isdisjoint(inputs):
                behind = [self.resolve(i, name) if i in others else i for i in inputs]
                needed[name] = tuple(dict.fromkeys(behind))
        return needed


def handles_within(node: Any) -> Iterator[Handle]:
    """The futures among the arguments of a task, and of the tasks inside it."""
    stack = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, Handle):
            yield value
        elif isinstance(value, Task):
            stack += value.args
            stack += value.kwargs.values()
        elif isinstance(value, DataNode):
            stack.append(value.value)
        elif isinstance(value, dict):
            stack += value.values()
        else:
            yield from handles_in(value)


def _namesake(node: Any, name: Any) -> Handle | None:
    """The future of that name in a task."""
    handles = (handle for handle in handles_within(node) if isinstance(handle, TaskRef))
    return next((handle for handle in handles if handle.key == name), None)


# Fewer tasks -----------------------------------------------------------------------------------


class _Vertex:
    """One task to be, with the name of the last of the nodes of which it is made. Each node only feeds the
    next; `inputs` are what the first one needs."""

    __slots__ = ("inputs", "name", "names")

    def __init__(self, name: Any, names: Sequence[Any], inputs: Sequence[Any]) -> None:
        self.name = name
        self.names = names
        self.inputs = inputs


def _fuse(
    graph: _Graph,
    wanted: set[Any],
    options: Callable[[Any], Options | None],
    kept: Container[Any],
) -> dict[Any, _Vertex]:
    """The tasks to be, by name."""
    needed = graph.needed(wanted)
    users = Counter(chain.from_iterable(needed.values()))
    along = {
        name
        for name in graph.data
        if name not in wanted and _goes_along(graph.node(name), users[name])
    }
    # Mostly all that is needed is a task, and needs tasks only.
    inputs = _tasks_only(needed, along) if along or graph.wires else needed
    followers = {}
    for name, others in inputs.items():
        if len(others) == 1:
            before = others[0]
            alone = users[before] > 1 or before in wanted or before in kept
            if not alone and _may_be_one(options(before), options(name)):
                followers[before] = name
    follows = set(followers.values())
    vertices = {}
    for name in inputs:
        if name in followers:
            if name not in follows:
                chained = _chain(name, inputs, followers)
                vertices.update((vertex.name, vertex) for vertex in chained)
        elif name not in follows:
            vertices[name] = _Vertex(name, (name,), inputs[name])
    return vertices


def _may_be_one(first: Options | None, second: Options | None) -> bool:
    """Whether two tasks with these options may become one. Two time limits are not one."""
    return first == second and not (first and "time_limit" in first)


def _tasks_only(
    needed: Mapping[Any, tuple[Any, ...]], along: set[Any]
) -> dict[Any, tuple[Any, ...]]:
    """The same without data that goes along, and without futures."""
    return {
        name: tuple([other for other in others if other in needed and other not in along])
        for name, others in needed.items()
        if name not in along
    }


def _goes_along(node: Any, users: int) -> bool:
    """Whether a node that is data is sent with the tasks that use it."""
    value = node.value
    if users == 1:
        return True
    return type(value) in PLAIN and not (
        isinstance(value, (str, bytes)) and len(value) > MAX_INLINE_TEXT
    )


def _chain(
    name: Any, inputs: Mapping[Any, tuple[Any, ...]], followers: Mapping[Any, Any]
) -> Iterator[_Vertex]:
    """The vertices of the chain that begins with the name: one, or more if it is too long for one."""
    names = [name]
    while names[-1] in followers:
        follower = followers[names[-1]]
        if len(names) == MAX_FUSED:
            yield _Vertex(names[-1], names, inputs[names[0]])
            names = []
        names.append(follower)
    yield _Vertex(names[-1], names, inputs[names[0]])


def _ordered(vertices: Mapping[Any, _Vertex], wanted: Iterable[Any]) -> list[_Vertex]:
    """What is needed comes before what needs it. Raises RuntimeError that shows a cycle."""
    inputs = {name: vertex.inputs for name, vertex in vertices.items()}
    try:
        return [vertices[name] for name in order(inputs, dict.fromkeys(wanted))]
    except Cycle as cycle:
        # Of a task that was fused each part needs the one before it.
        needs = [part for name in cycle.names[:-1] for part in reversed(vertices[name].names)]
    shown = [*map(repr, needs[:MAX_SHOWN]), *(["..."] if len(needs) > MAX_SHOWN else [])]
    raise RuntimeError(f"the graph has a cycle: {' needs '.join([*shown, repr(needs[0])])}")


class _Frontier:
    """Between the tasks that have been sent and those that depend on them."""

    def __init__(self, vertices: Iterable[_Vertex], wanted: Container[Any]) -> None:
        self._left = Counter(chain.from_iterable(vertex.inputs for vertex in vertices))
        self._wanted = wanted

    def move(self, part: Sequence[_Vertex]) -> tuple[list[Any], list[Any]]:
        """The names of those tasks in the part that something after it needs; and of those in parts before
        it that nothing after it needs any more. What is wanted is kept anyway."""
        left, wanted = self._left, self._wanted
        own = dict.fromkeys([vertex.name for vertex in part])
        complete = []
        for vertex in part:
            for name in vertex.inputs:
                left[name] -= 1
                if not left[name] and name not in own and name not in wanted:
                    complete.append(name)
        return [name for name in own if left[name] and name not in wanted], complete


# Packing ---------------------------------------------------------------------------------------

# As in `Calls`: the id of the function, options, whether they are wanted, items.
_Group = tuple[str, "Options | None", bool, "list[Item]"]


class _Scope:
    """What a name means to a task: what was compiled with it, or a result, or data that goes along.

    Not a function inside another that calls itself: that would be a cycle of references, and keep the
    futures of the graph alive until the garbage collector comes by.
    """

    def __init__(self, graph: _Graph, compiler: Compiler) -> None:
        self.user: Any = None  # the node that is being compiled
        self.local: dict[Any, Part] = {}
        self._graph = graph
        self._compiler = compiler

    def __call__(self, name: Any) -> Part:
        wire = self._graph.packed.get(name)
        if wire is None:
            name = self._graph.resolve(name, self.user)
            wire = self._graph.wire(name)
        part = self.local.get(name)
        if part is not None:
            return part
        if wire is None:
            return self._compiler.add(self._graph.node(name), self)
        # Another one for each use: an iterator is not to be shared by two arguments.
        return self._compiler.operand(Ref(wire))


class _Packer:
    """Vertices, dependencies first, to the calls that the scheduler gets."""

    def __init__(
        self,
        graph: _Graph,
        options: Callable[[Any], Options | None],
        shown: Mapping[Any, Any],
        ship: bool,
    ) -> None:
        self._graph = graph
        self._options = options
        self._shown = shown
        self._ship = ship
        self._functions: dict[Any, Function] = {}  # by the id of a function, or a program's shape
        self._known: set[str] = set(graph.futures)  # wire keys
        self._count = 0
        self._begin()
        self._futures.update(graph.futures)

    def _begin(self) -> None:
        """A new part."""
        self._taken = self._count
        self._bytes = 0
        self._added: list[tuple[Function, Options | None, bool, Item]] = []
        self._futures: dict[str, Handle] = {}
        self._data: dict[str, Frame] = {}

    def add(self, vertex: _Vertex, wanted: bool) -> None:
        key = name = vertex.name
        if self._shown:
            key = self._shown.get(name, name)
        try:
            function, arguments, inputs = self._pack(vertex)
        except SerializationError as error:
            raise SerializationError(f"{key!r} cannot be sent: {error}") from error
        if len(arguments) > MAX_ARGUMENT_BYTES:
            if len(vertex.names) > 1:
                for wire in inputs or ():
                    self._data.pop(wire, None)
                self._add_apart(vertex, wanted)
                return
            raise ValueError(
                f"{key!r} holds {len(arguments):,} bytes of data, more than the limit of "
                f"{MAX_ARGUMENT_BYTES:,}: use smaller chunks, or load the data on the workers"
            )
        # The same key with other work is other work: the digest of the recipe belongs to the name.
        digest = blake2b(function.id.encode() + arguments, digest_size=16).hexdigest()
        wire = self._graph.packed[name] = wire_key(key, digest)
        self._known.add(wire)
        item = (wire, arguments, inputs, self._count)
        self._added.append((function, self._options(name), wanted, item))
        self._count += 1
        self._bytes += len(arguments)

    def _add_apart(self, vertex: _Vertex, wanted: bool) -> None:
        """The nodes of a chain as tasks of their own: together they have too much data."""
        for name in vertex.names:
            self.add(_Vertex(name, (name,), ()), wanted and name == vertex.name)

    def _pack(self, vertex: _Vertex) -> tuple[Function, bytes, tuple[str, ...] | None]:
        call = self._graph.call(vertex.name) if len(vertex.names) == 1 else None
        wires = self._wires_of(call.names) if call is not None else None
        if call is None or wires is None:
            return self._compile(vertex)
        function = self._functions.get(id(call.func)) or self._learn(call.func)
        inputs = tuple(dict.fromkeys(wires.values())) if wires else None
        return function, call.pack(wires), inputs

    def _wires_of(self, names: Sequence[Any]) -> dict[Any, str] | None:
        """The keys on the wire that these stand for. None if one is data that goes along with its users."""
        graph = self._graph
        packed = graph.packed
        wires = {}
        for name in names:
            wire = packed.get(name) or graph.wire(graph.resolve(name))
            if wire is None:
                return None
            wires[name] = wire
        return wires

    def _compile(self, vertex: _Vertex) -> tuple[Function, bytes, tuple[str, ...] | None]:
        compiler = Compiler()
        scope = _Scope(self._graph, compiler)
        for name in vertex.names:
            scope.user = name
            scope.local[name] = compiler.add(self._graph.node(name), scope)
        result = scope.local[vertex.name]
        call = compiler.single_call(result)
        if call is not None:
            func, args, kwargs = call
            function = self._functions.get(id(func)) or self._learn(func)
        else:
            args, kwargs = tuple(compiler.operands), {}
            known_as = compiler.shape(result)
            function = self._functions.get(known_as)
            if function is None:
                function = self._functions[known_as] = compiler.program(result)
        # Made here, not once for all: that would be a cycle, see `_Scope`.
        arguments, inputs = pack_call(args, kwargs, self._put_aside if self._ship else None)
        if inputs is not None and not self._known.issuperset(inputs):
            self._note_futures((args, kwargs))
            self._known.update(inputs)
        return function, arguments, inputs

    def _put_aside(self, buffer: Frame) -> str:
        wire = fresh_key("data")
        self._data[wire] = buffer
        self._known.add(wire)
        return wire

    def _note_futures(self, arguments: Any) -> None:
        """Those that were not replaced by names."""
        for handle in handles_in(arguments):
            if not isinstance(handle, Ref):
                self._futures[handle.wire] = handle

    def _learn(self, func: Any) -> Function:
        function = self._functions[id(func)] = function_of(func)
        return function

    @property
    def is_full(self) -> bool:
        """Whether what has been added is a message of a size that the scheduler likes."""
        return self._count - self._taken >= MESSAGE_TASKS or self._bytes >= MESSAGE_BYTES

    def take(self) -> tuple[dict[str, bytes], list[_Group], dict[str, Handle], dict[str, Frame]]:
        """What was added since the last time: functions, groups, and what else is in a part."""
        blobs = {function.id: function.blob for function, *_ in self._added}
        taken = blobs, self._grouped(), self._futures, self._data
        self._begin()
        return taken

    def _grouped(self) -> list[_Group]:
        """Tasks of one function share a group, which costs less than a group for each, if they are of one
        level: then none of them needs another."""
        levels: dict[str, int] = {}
        groups: dict[tuple[int, str, bool], list[_Group]] = {}
        for function, options, wanted, item in self._added:
            wire, _, inputs, _ = item
            level = 0
            if inputs:
                level = 1 + max([levels.get(other, -1) for other in inputs])
            levels[wire] = level
            like = groups.get((level, function.id, wanted))
            if like is None:
                like = groups[level, function.id, wanted] = []
            for group in like:
                if group[1] == options:
                    group[3].append(item)
                    break
            else:
                like.append((function.id, options, wanted, [item]))
        return list(chain.from_iterable([groups[like] for like in sorted(groups)]))

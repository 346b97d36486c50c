"""What only the embedded engine's experiments can have broken: links, clocks and validators that lie.

    [network.links]  how links are: delay, loss, repetition, stragglers (chain/simulation/scenario.py, `Links`)
    [[link]]         links unlike the others
    [[clock]]        nodes whose time of day is wrong
    [[fault]]        links that are cut or clogged from a second on
    [[byzantine]]    validators that lie, at heights, in a span of seconds, or always

Links are those between nodes: their validators, what they hand on of transactions, and, when cut, what their edge
servers ask of each other. Clients reach every server that runs.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec

from chain.simulation.scenario import Links

Node = Annotated[str, msgspec.Meta(pattern="^node[1-9][0-9]{0,1}$")]
Nodes = Annotated[tuple[Node, ...], msgspec.Meta(min_length=1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Height = Annotated[int, msgspec.Meta(ge=1)]


class LinkPart(Links, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Links that are unlike the others; without `to`, those to everybody else."""

    from_: Nodes
    to: tuple[Node, ...] = ()


class ClockPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By how many seconds the time of day of some nodes' validators is ahead; below 0: behind."""

    nodes: Nodes
    ahead: Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class FaultPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """What happens to links at second `at`, for so many seconds; 0: to the end.

    A partition cuts `nodes` off from all others; one way: they still hear. Over clogged links everything comes later.
    `to`: the far ends of a clog, by default all others.
    """

    at: _Seconds
    do: Literal["partition", "one-way partition", "clog"]
    nodes: Nodes
    to: tuple[Node, ...] = ()
    for_: _Seconds = 0.0


class LiePart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How some nodes' validators lie; `heights`: the first and the last; `seconds`: from the first until the second."""

    nodes: Nodes
    habit: Literal["silent", "withholding", "equivocating", "unsound"]
    heights: tuple[_Height, _Height] | None = None
    seconds: tuple[_Seconds, _Seconds] | None = None


def place(node: str) -> int:
    """Return a node's number, from 0."""
    return int(node.removeprefix("node")) - 1


def links_from(nodes: Sequence[str], to: Sequence[str], validators: int) -> list[tuple[int, int]]:
    """Return the links from nodes to others, by numbers; without `to`, to all that are not among `nodes`."""
    near = [place(node) for node in nodes]
    far = [place(node) for node in to] or [number for number in range(validators) if number not in near]
    return [(a, b) for a in near for b in far if a != b]


def problems(
    links: Sequence[LinkPart],
    clocks: Sequence[ClockPart],
    faults: Sequence[FaultPart],
    lies: Sequence[LiePart],
    *,
    validators: int,
) -> Iterator[str]:
    """Yield what names nobody or can never happen."""
    named = [
        *((f"link[{i}]", (*one.from_, *one.to)) for i, one in enumerate(links)),
        *((f"clock[{i}]", one.nodes) for i, one in enumerate(clocks)),
        *((f"fault[{i}]", (*one.nodes, *one.to)) for i, one in enumerate(faults)),
        *((f"byzantine[{i}]", one.nodes) for i, one in enumerate(lies)),
    ]
    for where, nodes in named:
        for node in nodes:
            if place(node) >= validators:
                yield f"{where}: no node {node!r}, there are {validators}"
    for number, fault in enumerate(faults):
        if fault.to and fault.do != "clog":
            yield f"fault[{number}]: to is for a clog, not for a {fault.do}"
        elif not links_from(fault.nodes, fault.to, validators):
            yield f"fault[{number}]: no link leads anywhere"
    for number, lie in enumerate(lies):
        if lie.heights is not None and lie.seconds is not None:
            yield f"byzantine[{number}]: say either heights or seconds"
        for first, last in (span for span in (lie.heights, lie.seconds) if span is not None):
            if first > last:
                yield f"byzantine[{number}]: from {first:g} to {last:g} there is nothing"
    if lies and len({node for lie in lies for node in lie.nodes}) == validators:
        yield "byzantine: nobody is honest"

"""A graph of stages on any executor: each starts once its parents are made, the one with most work first.

A stage costs the logarithm of how many could start, whatever the size of the graph.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from heapq import heapify, heappop, heappush
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar


class Node(Protocol):
    """What is scheduled: `parents` come first; those that are not in the graph are there already."""

    @property
    def key(self) -> str: ...
    @property
    def parents(self) -> "tuple[Node, ...]": ...
    @property
    def work(self) -> float: ...


N = TypeVar("N", bound=Node)


def run(
    graph: Mapping[str, N], start: Callable[[N], Future], limit: int
) -> Iterator[tuple[N, BaseException | None]]:
    """Yield every node of the graph (by key) as it ends: with None, or with the error that it or an ancestor raised.

    start: hands a node to an executor. limit: how many nodes may be in its hands at once.
    """
    children, missing = _links(graph)
    ready = [_entry(graph[key], place) for place, key in enumerate(graph) if not missing[key]]
    heapify(ready)
    ended: SimpleQueue[tuple[N, Future]] = SimpleQueue()
    running, failed, places = 0, set[str](), len(graph)
    while ready or running:
        while ready and running < limit:
            node = heappop(ready)[-1]
            start(node).add_done_callback(partial(_ended, ended, node))
            running += 1
        node, future = ended.get()
        running -= 1
        error = future.exception()
        yield node, error
        if error is not None:
            yield from ((lost, error) for lost in _descendants(node, children, failed))
            continue
        for child in children.get(node.key, ()):
            missing[child.key] -= 1
            if not missing[child.key]:
                heappush(ready, _entry(child, places := places + 1))


def _ended(ended: SimpleQueue, node: Node, future: Future) -> None:
    ended.put((node, future))


def _entry(node: Any, place: int) -> tuple[float, int, Any]:
    """Most work first; of equal work, who could start first."""
    return -node.work, place, node


def _links(graph: Mapping[str, N]) -> tuple[dict[str, list[N]], dict[str, int]]:
    """Each node's children, and how many of its parents are still to make."""
    children: dict[str, list[N]] = {}
    missing = dict.fromkeys(graph, 0)
    for key, node in graph.items():
        for parent in {parent.key for parent in node.parents} & graph.keys():
            children.setdefault(parent, []).append(node)
            missing[key] += 1
    return children, missing


def _descendants(node: N, children: dict[str, list[N]], failed: set[str]) -> Iterator[N]:
    """Whoever needs the failed node, each once: it can never start, for a parent stays missing."""
    waiting = list(children.get(node.key, ()))
    while waiting:
        lost = waiting.pop()
        if lost.key not in failed:
            failed.add(lost.key)
            waiting += children.get(lost.key, ())
            yield lost

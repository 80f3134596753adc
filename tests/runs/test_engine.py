"""The order in which stages are computed, with one and with several workers."""

import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.errors import FullError
from repro.runs import compute, engine


@dataclass(frozen=True)
class Node:
    """Stands for a stage."""

    key: str
    parents: tuple["Node", ...] = ()
    work: float = 1.0


class AtOnce(Executor):
    """Calls `make` for each node as it is submitted."""

    slots = limit = 1

    def __init__(self, make):
        self.make = make

    def submit(self, fn, node):
        future = Future()
        try:
            future.set_result(self.make(node))
        except Exception as error:
            future.set_exception(error)
        return future


class Threads(ThreadPoolExecutor):
    """Calls `make` for up to `limit` nodes at a time."""

    def __init__(self, limit, make):
        super().__init__(4)
        self.limit, self.make = limit, make

    def submit(self, fn, node):
        return super().submit(self.make, node)


def order(nodes, make=lambda node: None):
    return [node.key for node, _ in engine.run_stages(nodes, AtOnce(make))]


def test_most_work_first_and_parents_before_children():
    small, large = Node("small", work=1), Node("large", work=3)
    child = Node("child", (small,), work=9)
    assert order([child, small, large]) == ["large", "small", "child"]


def test_of_equal_work_the_first_named_goes_first():
    assert order([Node(key) for key in "cab"]) == ["c", "a", "b"]


def test_a_parent_that_is_not_listed_has_an_artefact_already():
    assert order([Node("child", (Node("made"),))]) == ["child"]


def test_a_parent_named_twice_is_waited_for_once():
    parent = Node("parent")
    assert order([Node("child", (parent, parent)), parent]) == ["parent", "child"]


def test_a_failure_fails_its_descendants_and_no_other_stage():
    bad, good = Node("bad"), Node("good")
    child = Node("child", (bad, good))
    grandchild, other = Node("grandchild", (child, bad)), Node("other", (good,))
    failure = ValueError("no")

    def make(node):
        started.append(node.key)
        if node is bad:
            raise failure

    started: list[str] = []
    nodes = [bad, good, child, grandchild, other]
    ended = [(node.key, error) for node, error in engine.run_stages(nodes, AtOnce(make))]
    assert sorted(started) == ["bad", "good", "other"]
    assert len(ended) == 5
    assert dict(ended) == {
        "bad": failure,
        "child": failure,
        "grandchild": failure,
        "good": None,
        "other": None,
    }


def test_a_full_disk_stops_at_once():
    def make(node):
        started.append(node.key)
        raise FullError("no space left")

    started: list[str] = []
    with pytest.raises(FullError):
        order([Node("a"), Node("b"), Node("c")], make)
    assert started == ["a"]


def test_a_worker_is_given_run_stage_and_the_stage(monkeypatch):
    calls = []
    monkeypatch.setattr(compute, "run_stage", lambda stage: calls.append(stage.key))
    pool = AtOnce(None)
    pool.submit = lambda fn, stage: AtOnce(fn).submit(fn, stage)
    assert [node.key for node, _ in engine.run_stages([Node("a")], pool)] == calls == ["a"]


@given(st.lists(st.sets(st.integers(0, 30), max_size=4), max_size=30), st.integers(1, 4))
def test_every_stage_once_after_its_parents_and_never_more_than_allowed(parents, limit):
    nodes: list[Node] = []
    for number, chosen in enumerate(parents):
        before = tuple(nodes[n] for n in sorted(chosen) if n < number)
        nodes.append(Node(str(number), before, work=number % 3))
    finished, running, most = [], set(), [0]

    def make(node):
        running.add(node.key)
        most[0] = max(most[0], len(running))
        assert {parent.key for parent in node.parents} <= set(finished)
        running.discard(node.key)

    with Threads(limit, make) as pool:
        for node, error in engine.run_stages(nodes, pool):
            assert error is None
            finished.append(node.key)
    assert sorted(finished) == sorted(node.key for node in nodes)
    assert most[0] <= limit


def test_ten_times_the_stages_take_ten_times_as_many_calls():
    def calls(cells):
        teachers = [Node(f"t{n}", work=9) for n in range(cells // 20)]
        students = [Node(f"s{n}", (teachers[n % len(teachers)],), work=n % 7) for n in range(cells)]
        events = []
        sys.setprofile(lambda frame, event, argument: events.append(event))
        try:
            ordered = order([*students, *teachers])
        finally:
            sys.setprofile(None)
        assert len(ordered) == cells + len(teachers)
        return len(events)

    assert calls(5000) < 20 * calls(500)  # linear is 10, quadratic 100

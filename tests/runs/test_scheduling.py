"""The order of a graph's stages, on executors of one and of several workers."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import thread_time

from hypothesis import given
from hypothesis import strategies as st

from repro.runs import scheduling


@dataclass(frozen=True)
class Node:
    key: str
    parents: tuple["Node", ...] = ()
    work: float = 1.0


def graph(*nodes):
    return {node.key: node for node in nodes}


def at_once(fn):
    """`start` of an executor that makes each node as it is handed over."""

    def start(node):
        future = Future()
        try:
            future.set_result(fn(node))
        except Exception as error:
            future.set_exception(error)
        return future

    return start


def order(nodes):
    return [node.key for node, _ in scheduling.run(graph(*nodes), at_once(lambda node: None), 1)]


def test_most_work_first_and_parents_before_children():
    small, large = Node("small", work=1), Node("large", work=3)
    child = Node("child", (small,), work=9)
    assert order([child, small, large]) == ["large", "small", "child"]


def test_of_equal_work_the_first_named_goes_first():
    assert order([Node(key) for key in "cab"]) == ["c", "a", "b"]


def test_a_parent_outside_the_graph_is_there_already():
    assert order([Node("child", (Node("made"),))]) == ["child"]


def test_a_parent_named_twice_is_waited_for_once():
    parent = Node("parent")
    assert order([Node("child", (parent, parent)), parent]) == ["parent", "child"]


def test_a_failure_takes_its_descendants_along_and_no_one_else():
    bad, good = Node("bad"), Node("good")
    child = Node("child", (bad, good))
    grandchild, other = Node("grandchild", (child, bad)), Node("other", (good,))
    failure = ValueError("no")

    def make(node):
        started.append(node.key)
        if node is bad:
            raise failure

    started: list[str] = []
    nodes = graph(bad, good, child, grandchild, other)
    ended = [(node.key, error) for node, error in scheduling.run(nodes, at_once(make), 1)]
    assert sorted(started) == ["bad", "good", "other"]
    assert len(ended) == 5
    assert dict(ended) == {
        "bad": failure,
        "child": failure,
        "grandchild": failure,
        "good": None,
        "other": None,
    }


@given(st.lists(st.sets(st.integers(0, 30), max_size=4), max_size=30), st.integers(1, 4))
def test_every_node_once_after_its_parents_and_never_more_than_allowed(parents, limit):
    nodes: list[Node] = []
    for number, chosen in enumerate(parents):
        nodes.append(
            Node(
                str(number), tuple(nodes[n] for n in sorted(chosen) if n < number), work=number % 3
            )
        )
    made, running, most = [], set(), [0]

    def make(node):
        running.add(node.key)
        most[0] = max(most[0], len(running))
        assert {parent.key for parent in node.parents} <= set(made)
        running.discard(node.key)

    with ThreadPoolExecutor(4) as pool:
        for node, error in scheduling.run(
            graph(*nodes), lambda node: pool.submit(make, node), limit
        ):
            assert error is None
            made.append(node.key)
    assert sorted(made) == sorted(node.key for node in nodes)
    assert most[0] <= limit


def test_ten_times_the_stages_take_ten_times_as_long():
    def seconds(cells):
        teachers = [Node(f"t{n}", work=9) for n in range(cells // 20)]
        students = [Node(f"s{n}", (teachers[n % len(teachers)],), work=n % 7) for n in range(cells)]
        start = thread_time()  # of this thread: what else the machine does is not counted
        assert len(order([*students, *teachers])) == cells + len(teachers)
        return thread_time() - start

    few = min(seconds(2000) for _ in range(3))
    assert seconds(20000) < 40 * few  # linear is 10; the square, 100

import pytest

from stoker.policies.queueing.due_heap import DueHeap

pytestmark = pytest.mark.unit


def test_ids_come_out_when_they_are_due_the_earliest_first() -> None:
    heap = DueHeap()
    for due_us, item in ((30, "c"), (10, "a"), (20, "b"), (10, "a2")):
        heap.add(due_us, item)
    assert heap.next_due_us() == 10
    assert heap.pop_due(9) == []
    assert heap.pop_due(20) == ["a", "a2", "b"]
    assert (len(heap), heap.next_due_us()) == (1, 30)


def test_a_discarded_id_is_never_due_and_discarding_it_twice_does_nothing() -> None:
    heap = DueHeap()
    heap.add(10, "a")
    heap.add(20, "b")
    heap.discard("a")
    heap.discard("a")
    assert heap.next_due_us() == 20
    assert heap.pop_due(100) == ["b"]
    assert heap.next_due_us() is None


def test_an_id_that_is_added_again_is_due_once_at_its_new_instant() -> None:
    heap = DueHeap()
    heap.add(10, "a")
    heap.add(50, "a")
    assert heap.pop_due(49) == []
    heap.discard("a")
    heap.add(60, "a")
    assert heap.pop_due(100) == ["a"]
    assert len(heap) == 0


def test_garbage_stays_bounded_whatever_is_added_and_discarded() -> None:
    heap = DueHeap()
    for index in range(10):
        heap.add(10**9 + index, f"kept-{index}")
    for index in range(5_000):
        heap.add(10**6, f"gone-{index}")
        heap.discard(f"gone-{index}")
        heap.add(10**6 + index, "moving")
    assert len(heap.heap) <= 2 * len(heap) + 64 + 1
    heap.discard("moving")
    assert heap.pop_due(2 * 10**9) == [f"kept-{index}" for index in range(10)]


def test_clear_takes_everything_out() -> None:
    heap = DueHeap()
    heap.add(10, "a")
    heap.clear()
    assert (len(heap), heap.next_due_us(), heap.pop_due(100)) == (0, None, [])

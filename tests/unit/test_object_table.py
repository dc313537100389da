import pytest

from stoker.cost.minimum import over_bound
from stoker.model.function import Function
from stoker.testing.builders import make_gpu
from stoker_cli.objects.object_file import FileObjects, load_objects
from stoker_cli.objects.object_table import ObjectTable, StoreSnapshot
from stoker_cli.objects.validation import Validator

pytestmark = pytest.mark.unit


def text(name: str, latency: str = "1s") -> str:
    return (
        "---\napiVersion: stoker.dev/v1alpha1\nkind: GpuFunction\n"
        f"metadata: {{name: {name}}}\n"
        f"spec: {{container: {{command: [x]}}, gpu: {{memory: 1Gi}}, slo: {{latency: {latency}}}}}\n"
    )


POLICY = "---\napiVersion: stoker.dev/v1alpha1\nkind: GpuPolicy\nmetadata: {name: default}\nspec: {queueing: %s}\n"


def load(source: str, file: str) -> FileObjects:
    return load_objects(source.encode(), file, Validator.packaged())


class Table(ObjectTable):
    """Files a.yaml and b.yaml, and what the last resolve() said."""

    def write(self, file: str, source: str) -> None:
        self.put(file, load(source, file))

    def now(self) -> tuple[dict[str, Function], list[str]]:
        snapshot, errors = self.resolve(("a.yaml", "b.yaml"))
        return snapshot.functions, [str(error) for error in errors]


def test_a_bad_document_keeps_its_last_good_object_and_spares_the_others() -> None:
    table = Table()
    table.write("a.yaml", text("one") + text("two"))
    before, _ = table.now()
    table.write("a.yaml", text("one", "fast") + text("two", "2s"))
    after, _ = table.now()
    assert after["default/one"] == before["default/one"]
    assert after["default/two"].spec.slo.latency_us == 2_000_000


def test_a_policy_that_is_renamed_is_refused_and_the_last_good_one_stays() -> None:
    table = Table()
    table.write("a.yaml", POLICY % "edf")
    table.write("a.yaml", (POLICY % "fcfs").replace("default", "other"))
    policy = table.resolve(("a.yaml",))[0].policy
    assert policy is not None
    assert policy.queueing == "edf"
    table.drop("a.yaml")
    assert table.resolve(())[0].policy is None


def test_a_removed_document_goes_also_while_another_is_bad() -> None:
    table = Table()
    table.write("a.yaml", text("one") + text("two"))
    table.now()
    table.write("a.yaml", text("one", "fast"))
    assert set(table.now()[0]) == {"default/one"}


def test_nothing_goes_while_part_of_the_file_cannot_be_read() -> None:
    table = Table()
    table.write("a.yaml", text("one") + text("two"))
    table.now()
    table.write("a.yaml", text("one", "3s") + "---\na: [\n")
    functions, _ = table.now()
    assert functions["default/one"].spec.slo.latency_us == 3_000_000
    assert "default/two" in functions


def test_the_first_of_two_files_keeps_a_name_and_the_other_is_told_once_and_takes_over() -> None:
    table = Table()
    table.write("b.yaml", text("one", "2s"))
    assert table.now()[1] == []
    table.write("a.yaml", text("one", "1s"))
    functions, errors = table.now()
    assert errors == ["a.yaml:2: metadata.name: 'default/one' stands in b.yaml already; that one stays"]
    assert functions["default/one"].origin == "b.yaml"
    assert table.now()[1] == []
    table.drop("b.yaml")
    functions, errors = table.now()
    assert (functions["default/one"].origin, errors) == ("a.yaml", [])


def test_at_the_first_load_the_file_that_is_named_first_wins() -> None:
    table = Table()
    table.write("b.yaml", text("one"))
    table.write("a.yaml", text("one"))
    assert table.now()[0]["default/one"].origin == "a.yaml"


def test_a_generation_counts_changes_of_the_spec_also_over_a_deletion() -> None:
    table = Table()
    seen = []
    for source in (text("one"), text("one"), text("one", "2s"), text("two"), text("one", "2s"), text("one", "3s")):
        table.write("a.yaml", source)
        functions = table.now()[0]
        seen.append(functions["default/one"].generation if "default/one" in functions else None)
    assert seen == [1, 1, 2, None, 2, 3]


def test_an_identity_is_stable_for_a_file_and_differs_between_files() -> None:
    one, again, other = (load(text("one"), file).objects for file in ("a.yaml", "a.yaml", "b.yaml"))
    (first,), (second,), (third,) = one.values(), again.values(), other.values()
    assert isinstance(first.value, Function)
    assert isinstance(second.value, Function)
    assert isinstance(third.value, Function)
    assert first.value.uid == second.value.uid != third.value.uid


def queueing(snapshot: StoreSnapshot) -> str | None:
    return None if snapshot.policy is None else snapshot.policy.queueing


def test_the_policy_is_the_one_that_came_first() -> None:
    table = Table()
    table.write("a.yaml", POLICY % "edf")
    table.write("b.yaml", POLICY % "fcfs")
    snapshot, errors = table.resolve(("a.yaml", "b.yaml"))
    assert queueing(snapshot) == "edf"
    assert len(errors) == 1
    table.drop("a.yaml")
    assert queueing(table.resolve(("b.yaml",))[0]) == "fcfs"
    table.drop("b.yaml")
    assert queueing(table.resolve(())[0]) is None


def test_a_renamed_file_is_no_duplicate_of_the_one_that_is_gone() -> None:
    table = Table()
    table.write("a.yaml", text("one"))
    table.now()
    table.write("b.yaml", text("one"))
    snapshot, errors = table.resolve(("b.yaml",))  # a.yaml may still come back
    assert (set(snapshot.functions), errors) == ({"default/one"}, [])
    _, errors = table.resolve(("a.yaml", "b.yaml"))  # it did
    assert len(errors) == 1
    table.drop("a.yaml")
    snapshot, errors = table.resolve(("b.yaml",))
    assert (snapshot.functions["default/one"].origin, errors) == ("b.yaml", [])


def urgent(name: str, priority: str, latency: str = "1s") -> str:
    return text(name, latency).replace("spec: {", f"spec: {{priority: {priority}, ")


BOUND = "---\napiVersion: stoker.dev/v1alpha1\nkind: GpuPolicy\nmetadata: {name: default}\nspec: {namespaces: [%s]}\n"
BATCH_ONLY, ALL = BOUND % "{name: default, maxPriority: Batch}", BOUND % "{name: other, maxPriority: Batch}"


def test_a_function_above_the_priority_of_its_namespace_is_refused_once_with_a_sentence() -> None:
    table = Table()
    table.write("b.yaml", BATCH_ONLY)
    table.write("a.yaml", urgent("one", "Batch") + urgent("two", "Critical"))
    functions, (error,) = table.now()
    assert set(functions) == {"default/one"}
    assert error.startswith(
        "a.yaml:7: spec.priority: Critical is above Batch, the highest that the GpuPolicy allows in"
    )
    assert table.now() == (functions, [])
    table.write("b.yaml", ALL)
    assert set(table.now()[0]) == {"default/one", "default/two"}


def test_a_bound_that_is_lowered_freezes_nothing_and_raises_nothing() -> None:
    table = Table()
    table.write("a.yaml", urgent("one", "Standard"))
    table.now()
    table.write("b.yaml", BATCH_ONLY)
    functions, errors = table.now()
    assert (functions["default/one"].generation, errors) == (1, [])
    # Another change of the function is taken over; a higher priority is not, and what was good stays.
    table.write("a.yaml", urgent("one", "Standard", "2s"))
    assert table.now()[0]["default/one"].generation == 2
    table.write("a.yaml", urgent("one", "Critical", "3s"))
    functions, errors = table.now()
    assert len(errors) == 1
    assert (functions["default/one"].generation, functions["default/one"].spec.slo.latency_us) == (2, 2_000_000)
    table.write("a.yaml", urgent("one", "Batch", "4s"))
    assert table.now()[0]["default/one"].generation == 3
    # What was lowered once comes back only within the bound.
    table.write("a.yaml", urgent("one", "Standard", "4s"))
    assert len(table.now()[1]) == 1


PRICED = "---\napiVersion: stoker.dev/v1alpha1\nkind: GpuPolicy\nmetadata: {name: default}\nspec: {prices: [%s]}\n"


def many(name: str, count: int, latency: str = "1s") -> str:
    bounded = text(name, latency).replace("slo: {", "slo: {maxCostPerHour: 5, ")
    return bounded.replace("spec: {", f"spec: {{scaling: {{minReplicas: {count}}}, ")


def test_min_replicas_that_cost_more_than_they_may_are_refused_once_and_the_last_good_form_stays() -> None:
    table = Table(beyond=lambda function, policy: over_bound(function, (make_gpu(),), policy))
    table.write("b.yaml", PRICED % "{product: A100, perHour: 3}")
    table.write("a.yaml", many("one", 1))
    assert table.now()[1] == []
    table.write("a.yaml", many("one", 2) + many("two", 2))
    functions, errors = table.now()
    assert set(functions) == {"default/one"}
    assert functions["default/one"].spec.scaling.min_replicas == 1
    assert len(errors) == 2
    assert errors[1].startswith(
        "a.yaml:7: spec.scaling.minReplicas: 2 replicas cost at least 6 an hour, more than the 5"
    )
    assert table.now() == (functions, [])


def test_a_price_that_rises_stops_no_function_that_was_good() -> None:
    table = Table(beyond=lambda function, policy: over_bound(function, (make_gpu(),), policy))
    table.write("b.yaml", PRICED % "{product: A100, perHour: 1}")
    table.write("a.yaml", many("one", 2))
    table.now()
    table.write("b.yaml", PRICED % "{product: A100, perHour: 10}")
    functions, errors = table.now()
    assert (functions["default/one"].spec.scaling.min_replicas, errors) == (2, [])
    table.write("a.yaml", many("one", 2, "2s"))
    assert table.now()[0]["default/one"].spec.slo.latency_us == 2_000_000

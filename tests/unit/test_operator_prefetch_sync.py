"""Images kept ahead: for whom, and what happens when functions go while their pods are made."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from stoker.model.function import ContainerSpec, Function, PreWarm, PreWarmPolicy, Variant
from stoker.model.policy import default_policy
from stoker.pods.params import PodParams
from stoker.testing.builders import make_function, make_gpu
from stoker_operator.prefetch_sync import RETRY_S, Keep, PrefetchSync, wanted_images
from stoker_runtime.kube.errors import Forbidden, KubeError
from stoker_runtime.metrics import PrometheusSink

pytestmark = pytest.mark.unit

GPU = Variant.GPU
DEVICE = replace(make_gpu("n/GPU-0"), node="n")


def with_image(name: str = "f", pre_warm: PreWarmPolicy | None = PreWarmPolicy.HISTOGRAM) -> Function:
    function = make_function(name)
    asked = None if pre_warm is None else PreWarm(policy=pre_warm)
    scaling = replace(function.spec.scaling, pre_warm=asked)
    container = ContainerSpec(image=f"registry.example/{name}:1")
    return replace(function, spec=replace(function.spec, container=container, scaling=scaling))


class Api:
    def __init__(self) -> None:
        self.made: list[str] = []
        self.fail: KubeError | None = None
        self.meanwhile: dict[str, Function] = {}
        """Functions of which one goes with each create."""

    async def create(self, _: object, body: dict[str, Any], namespace: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.meanwhile:
            self.meanwhile.pop(next(reversed(self.meanwhile)))
        if self.fail is not None:
            raise self.fail
        self.made.append(body["metadata"]["labels"]["stoker.dev/function"])
        return {**body, "metadata": {**body["metadata"], "uid": "x"}}


class World:
    def __init__(self) -> None:
        self.api = Api()
        self.now_us = 1
        api: Any = self.api
        params = PodParams(system_namespace="stoker", wait_image="w", pause_image="p", grant_host="g")
        self.sync = PrefetchSync(api, lambda *_: params, lambda *_: None, lambda: self.now_us, PrometheusSink())


def keep(function: Function) -> Keep:
    return Keep(function.key, GPU, f"registry.example/{function.name}:1", "n")


def test_images_are_kept_for_functions_that_are_pre_warmed_and_for_no_others() -> None:
    functions = [
        with_image("asks"),
        with_image("asks-not", None),
        with_image("wants-none", PreWarmPolicy.NONE),
    ]

    def kept(policy: PreWarmPolicy) -> list[str]:
        found = wanted_images(
            functions,
            replace(default_policy(), pre_warm=policy),
            [DEVICE],
            images=lambda _: frozenset(),
            kept=frozenset(),
            allowed={},
        )
        return [each.function for each in found]

    assert kept(PreWarmPolicy.NONE) == ["default/asks"]
    assert kept(PreWarmPolicy.HISTOGRAM) == ["default/asks", "default/asks-not"]


async def test_a_function_that_goes_while_the_pod_of_another_is_made_stops_nothing() -> None:
    world = World()
    functions = {function.key: function for function in (with_image("a"), with_image("b"), with_image("c"))}
    wanted = [keep(function) for function in functions.values()]
    world.api.meanwhile = functions
    await world.sync.round(wanted, functions, ())
    assert world.api.made == ["a", "b"]


async def test_what_was_refused_is_remembered_for_a_while_and_not_for_functions_that_went() -> None:
    world = World()
    function = with_image("a")
    functions = {function.key: function}
    world.api.fail = Forbidden("create", 403, "Forbidden", "exceeded quota")
    assert await world.sync.round([keep(function)], functions, ()) == [function.key]
    world.api.fail = None
    assert await world.sync.round([keep(function)], functions, ()) == []
    assert world.api.made == []
    # It goes and comes again: what was refused was another one.
    await world.sync.round([], {}, ())
    await world.sync.round([keep(function)], functions, ())
    assert world.api.made == ["a"]
    world.api.fail = Forbidden("create", 403, "Forbidden", "exceeded quota")
    await world.sync.round([keep(function)], functions, ())
    world.api.fail = None
    world.now_us += round(RETRY_S * 1e6) + 1
    assert await world.sync.round([keep(function)], functions, ()) == [function.key]
    assert world.api.made == ["a", "a"]

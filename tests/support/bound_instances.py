"""Random instances of the offline problem, drawn from a seed, with every rule of it in play."""

from random import Random

from stoker.model.device import DeviceKind
from stoker_sim.bound.instance import Instance, InstanceDevice, InstanceFunction, InstanceRequest

GPU_PRODUCTS = ("small", "large")


def random_instance(seed: int, *, most_requests: int, most_devices: int = 3, tick_us: int = 1) -> Instance:
    """1 to `most_requests` requests to at most 4 functions, on at most `most_devices`; times on a grid of `tick_us`."""
    draw = Random(seed)
    count = draw.randint(1, most_requests)
    devices = tuple(_device(draw, index) for index in range(draw.randint(1, most_devices)))
    functions = tuple(_function(draw, index, devices, tick_us) for index in range(draw.randint(1, 4)))
    span = max(2, count * draw.choice((1, 2, 4)) // len(devices))
    requests = tuple(_request(draw, index, functions, span, tick_us) for index in range(count))
    return Instance(devices=devices, functions=functions, requests=requests)


def _device(draw: Random, index: int) -> InstanceDevice:
    if index and draw.random() < 0.3:
        return InstanceDevice(
            id=f"cpu-{index}",
            kind=DeviceKind.CPU,
            product="cpu",
            millicores=draw.choice((1000, 2000, 4000)),
            slots=4,
            price_per_s_micro=draw.randint(0, 10),
        )
    product = draw.choice(GPU_PRODUCTS)
    return InstanceDevice(
        id=f"gpu-{index}",
        kind=DeviceKind.GPU,
        product=product,
        memory_mib=8 if product == "small" else 16,
        slots=draw.choice((1, 1, 2, 3)),
        price_per_s_micro=draw.randint(0, 40),
    )


def _function(draw: Random, index: int, devices: tuple[InstanceDevice, ...], tick_us: int) -> InstanceFunction:
    cold = draw.choice((0, 1, 2, 4, 8))
    memory_mib = draw.choice((1, 3, 4, 6, 8))
    # One resident of 8 MiB fills a small device; two of the first functions would not fit beside each other.
    start_us = {"small": cold * tick_us, "large": max(0, cold - 1) * tick_us, "cpu": cold // 2 * tick_us}
    if draw.random() < 0.1:
        del start_us["large"]
    resident = {
        d.id
        for d in devices
        if d.product in start_us and d.kind is DeviceKind.GPU and index == 0 and draw.random() < 0.5
    }
    return InstanceFunction(
        key=f"default/f{index}",
        memory_mib=memory_mib,
        exclusive=draw.random() < 0.15,
        start_us=start_us,
        cold_us=draw.choice((0, 0, cold, 2 * cold)) * tick_us,
        resident_at_0=frozenset(resident),
        concurrency=draw.choice((1, 1, 1, 2)),
        cpu=draw.random() < 0.5,
        cpu_millis=draw.choice((500, 1000)),
    )


def _request(
    draw: Random, index: int, functions: tuple[InstanceFunction, ...], span: int, tick_us: int
) -> InstanceRequest:
    function = draw.randrange(len(functions))
    small = draw.randint(1, 5)
    large = max(1, small - draw.randint(0, 2))
    exec_us = {"small": small, "large": large, "cpu": small * 3}
    arrival = draw.randint(0, span)
    return InstanceRequest(
        id=f"r{index}",
        function=function,
        arrival_us=arrival * tick_us,
        deadline_us=(arrival + large + draw.randint(0, 8)) * tick_us,
        weight=draw.choice((1, 1, 1, 2, 5)),
        exec_us={product: us * tick_us for product, us in exec_us.items()},
    )

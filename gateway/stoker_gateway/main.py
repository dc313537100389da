"""`python -m stoker_gateway.main`: one gateway of a cluster, composed and run until SIGTERM.

The only module of stoker_gateway that chooses parts for a process; `stoker serve` composes its own.
"""

import os
import sys

import structlog

from stoker_gateway.config import GatewaySettings
from stoker_gateway.kubernetes.cluster_gateway import ClusterGateway, Parts
from stoker_gateway.kubernetes.settings import ClusterGatewaySettings
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.event_loop import Signals, keep_what_start_up_made, unless
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeSettings, load_config
from stoker_runtime.open_files import raise_open_files
from stoker_runtime.process import Environment, clock_us, run_process
from stoker_runtime.settings import ProcessSettings

log = structlog.get_logger(__name__)


async def serve(settings: Environment, signals: Signals) -> int:
    """Until SIGTERM and the end of what was accepted, or until a second SIGINT."""
    config = load_config(settings.get(KubeSettings))
    parts = Parts(
        process=settings.get(ProcessSettings),
        place=settings.get(ClusterSettings),
        cluster=settings.get(ClusterGatewaySettings),
        gateway=settings.get(GatewaySettings),
    )
    async with KubeClient(config, user_agent="stoker-gateway") as kube:
        platform = ClusterGateway(kube, parts, clock_us)
        try:
            if await unless(signals.asked, platform.start()):
                keep_what_start_up_made()
                log.info("serving", port=platform.gateway.port, control_port=platform.control.port)
                await signals.asked.wait()
                await unless(signals.insisted, platform.drain())
        finally:
            await platform.stop()
    log.info("stopped")
    return 0


def main() -> int:
    """The process."""
    raise_open_files()
    return run_process(os.environ, (KubeSettings, ClusterSettings, ClusterGatewaySettings, GatewaySettings), serve)


if __name__ == "__main__":
    sys.exit(main())

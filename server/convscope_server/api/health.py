"""grpc.health.v1 for each service: SERVING while a worker takes runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

__all__ = ["Health"]

_EVERY = 0.25


class Health:
    """Tells probes whether the server can be used, by service name and, for "", as a whole.

    Args:
        services: Full names of the services.
        usable: Whether the server can be used now.

    Attributes:
        serving: Set while the answer is SERVING.
    """

    def __init__(self, services: Iterable[str], usable: Callable[[], bool]) -> None:
        self.servicer = aio.HealthServicer()
        self.serving = asyncio.Event()
        self._services = ("", *services)
        self._usable = usable
        self._told: bool | None = None

    async def update(self) -> None:
        """Tell what is so now."""
        serving = self._usable()
        if serving is not self._told:
            self._told = serving
            status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
            for service in self._services:
                await self.servicer.set(service, status)
            (self.serving.set if serving else self.serving.clear)()

    async def follow(self) -> None:
        """Keep telling, until cancelled. Engines say nothing of their own accord; asking them costs nothing."""
        while True:
            await self.update()
            await asyncio.sleep(_EVERY)

    async def leave(self) -> None:
        """NOT_SERVING from now on: load balancers send nobody any more."""
        self.serving.clear()
        await self.servicer.enter_graceful_shutdown()

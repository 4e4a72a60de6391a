"""Every call's first step: is the server open, who asks, and may they."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from convscope_server.access import audit
from convscope_server.access.door import Door, authorise
from convscope_server.access.principal import Principal
from convscope_server.errors import RequestError

__all__ = ["Admission", "Gate"]


@dataclass(slots=True)
class Gate:
    """Closed while the server starts: nothing is answered before earlier runs have been taken up again."""

    open: bool = False

    def check(self) -> None:
        """Lets a call through, once open.

        Raises:
            RequestError: UNAVAILABLE, STARTING.
        """
        if not self.open:
            raise RequestError.of(
                "UNAVAILABLE", "STARTING", "the server is starting; wait until its health is SERVING, then try again"
            )


@dataclass(frozen=True, slots=True)
class Admission:
    """Gate, then door, then rules; each decision about a caller is a line of the audit log."""

    gate: Gate = field(default_factory=Gate)
    door: Door = field(default_factory=Door)

    async def admit(self, context: grpc.aio.ServicerContext[Any, Any], method: MethodDescriptor) -> Principal:
        """Who makes this call.

        Raises:
            RequestError: UNAVAILABLE, UNAUTHENTICATED or PERMISSION_DENIED.
        """
        self.gate.check()
        rpc = f"{method.containing_service.name}.{method.name}"
        principal: Principal | None = None
        try:
            principal = await self.door.admit(context.invocation_metadata() or (), _names(context))
            authorise(principal, method.containing_service.name, method.name)
        except RequestError as refusal:
            audit.denied(principal, rpc, context.peer(), refusal.error.reason)
            raise
        if self.door.asks:
            audit.allowed(principal, rpc, context.peer())
        return principal


def _names(context: grpc.aio.ServicerContext[Any, Any]) -> list[str]:
    """Common names of the client's certificate, which TLS has verified."""
    return [name.decode(errors="replace") for name in context.auth_context().get("x509_common_name", ())]

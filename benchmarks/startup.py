"""How long a server takes until it answers, with its default model warm."""

from __future__ import annotations

import time

from benchmarks.harness import Server, photograph, scratch
from benchmarks.result import Measure, Result, median

import convscope

BOUND_SECONDS = 15.0


def run(*, quick: bool = False) -> Result:
    """Seconds from the command to "ready", the median of five starts; and whether the model is on a device by then."""
    times, answers, warm = [], [], 0
    for _ in range(1 if quick else 5):
        with scratch() as data:
            server = Server(data)
            began = time.perf_counter()
            server.start()
            times.append(time.perf_counter() - began)
            with convscope.connect(server.address) as client:
                loaded = {model.name for device in client.devices() for model in device.models}
                answers.append(_first_answer(client))
            server.stop()
            warm += "efficientnet_lite0" in loaded
    measures = (
        Measure("command to SERVING, model warm", median(times), BOUND_SECONDS, "s"),
        Measure("starts with the model on a device", warm / len(times), 1.0, "", at_least=True),
    )
    details = {"fastest": min(times), "slowest": max(times), "first_answer": median(answers)}
    return Result("startup", measures, details)


def _first_answer(client: convscope.Client) -> float:
    began = time.perf_counter()
    client.visualize("grad_cam", image=photograph()).result()
    return time.perf_counter() - began

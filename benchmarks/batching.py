"""What eight clients wait for who ask for the same technique at once, batched and one by one.

On an accelerator a batch is most of the gain that there is; on a CPU it must not cost, and is off unless asked for.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from benchmarks.harness import photograph, serving
from benchmarks.interleaved import interleaved
from benchmarks.result import Measure, Result, median
from PIL import Image

import convscope

CLIENTS = 8
MOST_OF_ONE_BY_ONE = 1.25  # on a CPU, where it is off by default and nothing is to be gained


def run(*, quick: bool = False) -> Result:
    """Seconds until all eight have their saliency map, with `max_batch` 8 over 1, in turns on two servers."""
    pictures = [_turned(number) for number in range(CLIENTS)]
    with serving(max_batch=CLIENTS) as (_, batched), serving(max_batch=1) as (_, single):
        jobs = {name: partial(_all_at_once, client, pictures) for name, client in _named(batched, single)}
        times = {name: median(seconds) for name, seconds in interleaved(jobs, rounds=2 if quick else 8).items()}
        largest = max(_batches(batched))
        device = batched.devices()[0].name
    ratio = times["batched"] / times["one by one"]
    measures = (
        Measure(f"{CLIENTS} clients on {device}, batched / one by one", ratio, MOST_OF_ONE_BY_ONE),
        Measure("largest batch", float(largest), CLIENTS / 2, "", at_least=True),
    )
    return Result("batching", measures, {name.replace(" ", "_"): seconds for name, seconds in times.items()})


def _named(batched: convscope.Client, single: convscope.Client) -> list[tuple[str, convscope.Client]]:
    return [("batched", batched), ("one by one", single)]


def _all_at_once(client: convscope.Client, pictures: list[bytes]) -> list[convscope.Result]:
    with ThreadPoolExecutor(len(pictures)) as pool:
        return list(
            pool.map(lambda picture: client.visualize("saliency", image=picture, cache="bypass").result(), pictures)
        )


def _batches(client: convscope.Client) -> list[int]:
    """The sizes of the batches that the last runs were in."""
    reports = [client.attach(info.id).result().report for info in client.runs()[: 2 * CLIENTS]]
    return [int(report.provenance.get("batch", 1)) for report in reports]


def _turned(number: int) -> bytes:
    """The photograph of a cat, moved to the side, so that no two clients ask for the same."""
    with Image.open(io.BytesIO(photograph())) as picture:
        pixels = np.roll(np.asarray(picture.convert("RGB")), 20 * number, axis=1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()

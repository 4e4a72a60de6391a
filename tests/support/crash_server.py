"""A run service under load, to be killed: `python crash_server.py DATA SEED`.

Appends a line to DATA/accepted for each run that it accepted, and keeps submitting until it dies.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from convscope_server.images.content import ContentStore
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.lock import lock_data_dir
from convscope_server.runs.service import RunService
from convscope_server.runs.store import RunStore
from support.fake_engine import FakeEngine, steps
from support.run_house import request


async def serve(data: Path, seed: int) -> None:
    dice = random.Random(seed)
    engine = FakeEngine(capacity=8, script=steps(6, seconds=0.002, content=bytes(5000)))
    service = RunService(
        RunStore(f"sqlite:///{data / 'runs.db'}"),
        ContentStore(str(data / "content")),
        engine,
        RunLimits(inline_bytes=1000),
    )
    await service.start()
    print("recovered", flush=True)  # noqa: T201 - whoever kills it waits for this line
    with (data / "accepted").open("a") as accepted:
        while True:
            record = await service.submit(request(max_restarts=dice.choice([0, 0, 10])))
            accepted.write(f"{record.id}\n")
            accepted.flush()
            if dice.random() < 0.2:
                await service.cancel(record.id)
            await asyncio.sleep(dice.random() * 0.01)


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    with lock_data_dir(directory):
        asyncio.run(serve(directory, int(sys.argv[2])))

"""A worker process: `python -m convscope_server.worker --fd N --device D`, started by the local engine."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import signal
import socket
import threading

import msgspec

from convscope_server.allowance import Allowance
from convscope_server.engine.mark import TurnMark
from convscope_server.engine.messages import Report
from convscope_server.engine.options import WorkerOptions
from convscope_server.engine.pipe import decode_command, frame, read_frames

_RECORDS_AT_ONCE = 200
_RECORDS_PER_SECOND = 20


def main() -> None:
    """Serve the engine at the other end of the socket until it goes away."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--mark", type=int, required=True)
    parser.add_argument("--log", type=int, required=True)
    parser.add_argument("--device", default="")
    parser.add_argument("--options", required=True)
    parser.add_argument("--log-level", default="INFO")
    args = parser.parse_args()
    # Standard output and error are pipes that are read with measure: there a crash may say where it was.
    faulthandler.enable()
    _log_to(args.log, args.log_level)
    # Ctrl-C in a terminal reaches the whole process group; when to stop is for the front end to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=args.fd)
    options = msgspec.json.decode(args.options, type=WorkerOptions)
    serve(connection, options, args.device, TurnMark(args.mark))


def _log_to(descriptor: int, level: str) -> None:
    """Our own log goes where the front end's goes; what others log through `logging` does so with measure."""
    handler = logging.StreamHandler(os.fdopen(descriptor, "w"))
    allowance = Allowance(_RECORDS_AT_ONCE, _RECORDS_PER_SECOND)
    handler.addFilter(lambda record: record.name.startswith("convscope_server") or allowance.take())
    form = "%(asctime)s %(levelname)s worker %(name)s %(message)s"
    logging.basicConfig(level=level, handlers=[handler], format=form)


def serve(connection: socket.socket, options: WorkerOptions, device: str, mark: TurnMark) -> None:
    """Set the device up, say hello, and work."""
    from convscope_server.worker.memory import offer_to_the_killer
    from convscope_server.worker.worker import Worker
    from convscope_server.worker.workshop import Workshop

    lock = threading.Lock()

    def send(report: Report) -> None:
        data = frame(report)
        with lock:
            try:
                connection.sendall(data)
            except OSError:
                os._exit(0)  # the front end is gone, and with it everybody who could ask for anything

    offer_to_the_killer()
    shop = Workshop(options, device)
    shop.warm()
    worker = Worker(shop, send, mark=mark)

    def listen() -> None:
        try:
            for body in read_frames(connection):
                worker.post(decode_command(body))
        finally:  # however it ended: nobody would ever tell this process to stop
            os._exit(0)

    send(worker.hello())
    threading.Thread(target=listen, name="convscope-listener", daemon=True).start()
    worker.run()


if __name__ == "__main__":
    main()

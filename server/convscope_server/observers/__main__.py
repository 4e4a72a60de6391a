"""The observers' process: `python -m convscope_server.observers --fd N --options JSON`."""

from __future__ import annotations

import argparse
import logging
import queue
import signal
import socket
import threading
import time
from pathlib import Path

import msgspec

from convscope_sdk.choice import PluginChoice
from convscope_sdk.loader import BUILTIN_PACKAGE, Loader, Observer
from convscope_sdk.observed import ObservedEvent, ObservedRun
from convscope_server.engine.pipe import read_frames
from convscope_server.observers.messages import Observed, ObserverOptions
from convscope_server.runs.events import Started, is_terminal

logger = logging.getLogger("convscope.observers")

_WAITING = 1024
_PATIENCE = 3.0


class Watching(threading.Thread):
    """One plugin's observers, called one event after the other in a thread of their own."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(name=f"convscope-observer-{observer.plugin}", daemon=True)
        self._observer = observer
        self._waiting: queue.Queue[Observed] = queue.Queue(_WAITING)
        self._dropped = self._failed = 0

    def __str__(self) -> str:
        return f"plugin {self._observer.plugin} ({self._observer.package} {self._observer.version})"

    def tell(self, observed: Observed) -> None:
        """Something happened; dropped where the plugin is far behind."""
        try:
            self._waiting.put_nowait(observed)
        except queue.Full:
            self._dropped += 1
            if self._dropped.bit_count() == 1:
                logger.warning("%s observes too slowly: %d events dropped", self, self._dropped)

    def run(self) -> None:
        """Call the hooks for ever."""
        while True:
            observed = self._waiting.get()
            try:
                self._call(observed)
            except (Exception, SystemExit):  # the observer's bug
                self._failed += 1
                if self._failed.bit_count() == 1:
                    logger.exception("%s failed while it observed run %s", self, observed.run.id)
            finally:
                self._waiting.task_done()

    def _call(self, observed: Observed) -> None:
        hooks, run = self._observer.hooks, ObservedRun(**msgspec.structs.asdict(observed.run))
        data = msgspec.to_builtins(observed.event, builtin_types=(bytes,))
        event = ObservedEvent(observed.sequence, observed.time, str(data.pop("event")), data)
        if isinstance(observed.event, Started):
            hooks.convscope_run_started(run=run)
        hooks.convscope_run_event(run=run, event=event)
        if is_terminal(observed.event):
            hooks.convscope_run_finished(run=run, event=event)

    def idle(self) -> bool:
        """Whether everything it was told of is done with."""
        return self._waiting.unfinished_tasks == 0


def main() -> None:
    """Hear the front end out, then give observers a moment to finish."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--options", required=True)
    args = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = msgspec.json.decode(args.options, type=ObserverOptions)
    loader = Loader(choice=PluginChoice(allow=options.names, elsewhere=(BUILTIN_PACKAGE,)))
    loader.load_entry_points()
    for file in options.files:
        loader.load_file(Path(file))
    watching = [Watching(observer) for observer in loader.plugins.observers]
    for each in watching:
        each.start()
    decoder = msgspec.msgpack.Decoder(Observed)
    for body in read_frames(socket.socket(fileno=args.fd)):
        observed = decoder.decode(body)
        for each in watching:
            each.tell(observed)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and not all(each.idle() for each in watching):
        time.sleep(0.02)


if __name__ == "__main__":
    main()

"""How a process is asked to stop, and how it waits for that."""

import queue
import signal
import threading

_LOOK_S = 1.0


def stop_on_signals() -> threading.Event:
    """Return the event that SIGTERM and SIGINT set from now on. To be called in the main thread.

    Another thread sets it: a handler may come while the main thread holds the lock inside the event, and would wait for itself.
    """
    stop, asked = threading.Event(), queue.SimpleQueue[None]()

    def set_when_asked() -> None:
        asked.get()
        stop.set()

    threading.Thread(target=set_when_asked, name="stop", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.put(None))
    return stop


def wait_for(stop: threading.Event) -> None:
    """Return when `stop` is set. Not in one long wait: a signal that comes just before it begins is handled only after it."""
    while not stop.wait(_LOOK_S):
        pass

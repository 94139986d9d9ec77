"""Our side of an association of pynetdicom: who takes the answers."""

import threading
import time

from dicom_node.entity import Checkpoint


def test_a_thread_that_was_stopped_stands_until_it_is_let_go() -> None:
    ended, passed = threading.Event(), [0]

    def run() -> None:
        while not ended.is_set():
            checkpoint.wait()
            passed[0] += 1

    thread = threading.Thread(target=run)
    checkpoint = Checkpoint(thread)
    thread.start()
    for _ in range(200):
        checkpoint.clear()
        before = passed[0]
        time.sleep(0.0005)
        assert passed[0] == before
        checkpoint.set()
    ended.set()
    thread.join(5)
    assert not thread.is_alive()
    checkpoint.clear()  # and nobody waits for a thread that has ended


def test_a_thread_may_stop_itself() -> None:
    checkpoint = Checkpoint(threading.current_thread())
    checkpoint.clear()
    checkpoint.set()
    checkpoint.wait()

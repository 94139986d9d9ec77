"""A process that eats the machine's memory is started again; a modest one is left alone."""

import sys
import threading

import pytest

from dicom_node.ledger import Ledger
from dicom_node.processes.supervisor import Supervisor
from tests.waiting import eventually

EATER = "import sys, time; open(sys.argv[1], 'a').write('started\\n'); eaten = b'x' * 300_000_000; time.sleep(60)"
MODEST = "import sys, time; open(sys.argv[1], 'a').write('started\\n'); time.sleep(60)"


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


def test_a_process_over_the_limit_is_started_again_and_no_other(tmp_path, ledger):
    starts = {name: tmp_path / name for name in ("eater", "modest")}
    commands = {
        "eater": (sys.executable, "-c", EATER, str(starts["eater"])),
        "modest": (sys.executable, "-c", MODEST, str(starts["modest"])),
    }
    supervisor = Supervisor(commands=commands, ledger=ledger, memory_limit_bytes=200_000_000)
    running = threading.Thread(target=supervisor.run)
    running.start()
    try:
        eventually(lambda: starts["eater"].exists() and len(starts["eater"].read_text().split()) == 2, "the eater is started again")
        assert starts["modest"].read_text().split() == ["started"]
    finally:
        supervisor.stop.set()
        running.join()
    assert supervisor.alive() == {"eater": False, "modest": False}

"""The audit trail on its way to real repositories: in order, none left out, whatever happens to either side."""

import os
import signal
import socket
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from lxml import etree

from config.audit import FileRepository, SyslogTlsRepository, SyslogUdpRepository
from config.tls import TlsSection
from dicom_node.audit.forwarding import Forwarder, unsent
from dicom_node.audit.message import encode
from dicom_node.audit.messages import message_of
from dicom_node.audit.syslog import RepositoryUnreachableError, SyslogSource, open_transport, syslog_message
from dicom_node.audit.trail import Trail
from tests.certificates import Authority
from tests.conformance.test_audit_messages import EVERY_EVENT, NOON, SCHEMA, SOURCE
from tests.peers.audit_repository import Rsyslog, free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
AT = "2026-01-05T12:00:00.000+00:00"
HEADER = SyslogSource(host="node1", app_name="DICOM-NODE", process="17")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node_identity(authority):
    return authority.issue("node")


@pytest.fixture
def tls_repository(tmp_path, authority):
    repository = Rsyslog(tmp_path / "repository", authority=authority, identity=authority.issue("repository"))
    yield repository
    repository.stop()


@pytest.fixture
def section(tls_repository, authority, node_identity):
    tls = TlsSection(certificate=node_identity.certificate, key=node_identity.key, trusted_certificates=authority.certificate)
    return SyslogTlsRepository(host="127.0.0.1", port=tls_repository.port, tls=tls, timeout_s=5)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


@pytest.fixture
def trail(folder):
    trail = Trail(folder, file_bytes=20_000, maximum_bytes=10**9, forwarded=True)
    yield trail
    trail.close()


def message(name="start"):
    return encode(message_of(EVERY_EVENT[name][0], SOURCE, NOON), SOURCE)


def numbered(number):
    return message().replace("receive/17", f"number-{number}")


def forwarder(folder, section):
    return Forwarder(folder, open_transport(section), source=HEADER, retry_s=0.1)


class Forwarding:
    """A forwarder that runs beside the test."""

    def __init__(self, folder, section):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=forwarder(folder, section).run, args=(self._stop,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(timeout=30)


def numbers(repository):
    """The numbers of the messages in the order of their arrival."""
    found = []
    for *_, text in repository.messages():
        user = etree.fromstring(text.lstrip(" \ufeff")).find("ActiveParticipant").get("UserID")
        found.append(int(user.removeprefix("number-")))
    return found


def in_order_and_complete(found, count):
    """Every number is there, and none comes for the first time before a lower one has come."""
    first = list(dict.fromkeys(found))
    return first == list(range(count))


def test_a_repository_over_tls_gets_every_kind_of_message_unharmed(tls_repository, section, trail, folder):
    for name in EVERY_EVENT:
        trail.append(message(name), at=AT)
    with tls_repository:
        sender = forwarder(folder, section)
        assert sender.forward_once() == len(EVERY_EVENT)
        received = eventually(lambda: len(tls_repository.messages()) == len(EVERY_EVENT) and tls_repository.messages(), "all arrived")
    assert {(msgid, app) for msgid, _, app, _ in received} == {("DICOM+RFC3881", "DICOM-NODE")}
    assert {pri for _, pri, *_ in received} == {"85", "84"}, "facility 10, notice or, for failures, warning"
    texts = [text.lstrip(" ") for *_, text in received]
    assert all(text.startswith("\ufeff") for text in texts), "RFC 5424: UTF-8 is announced"
    assert [text.removeprefix("\ufeff") for text in texts] == [message(name) for name in EVERY_EVENT]
    assert all(SCHEMA.validate(etree.fromstring(text.removeprefix("\ufeff"))) for text in texts)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_repository_that_goes_away_and_comes_back_gets_everything_in_order(ending, tls_repository, section, trail, folder):
    tls_repository.start()
    with Forwarding(folder, section):
        for number in range(20):
            trail.append(numbered(number), at=AT)
        eventually(lambda: len(tls_repository.messages()) >= 20, "the first twenty arrived")
        tls_repository.stop(number=ending)
        for number in range(20, 60):
            trail.append(numbered(number), at=AT)
        eventually(lambda: unsent(folder) >= 40, "the rest waits")
        tls_repository.start()
        eventually(lambda: in_order_and_complete(numbers(tls_repository), 60), "the rest arrived", timeout_s=30)
    assert unsent(folder) == 0


def test_what_a_repository_had_not_read_when_it_died_is_sent_again(tls_repository, section, trail, folder):
    tls_repository.start()
    with Forwarding(folder, section):
        trail.append(numbered(0), at=AT)
        eventually(lambda: numbers(tls_repository) == [0], "it is connected")
        tls_repository.freeze()
        for number in range(1, 6):
            trail.append(numbered(number), at=AT)
        eventually(lambda: unsent(folder) == 0, "TCP took everything, so that it looks as if the repository had it")
        tls_repository.stop(number=signal.SIGKILL)
        tls_repository.start()
        eventually(lambda: in_order_and_complete(numbers(tls_repository), 6), "all arrived")


KILLED = """
import os, signal, sys
from pathlib import Path
from config.audit import SyslogTlsRepository
from dicom_node.audit import forwarding
from dicom_node.audit.syslog import SyslogSource, open_transport
from dicom_node.audit.trail import write_cursor
section = SyslogTlsRepository.model_validate_json(sys.argv[2])
moment = sys.argv[3]

class Killing:
    def __init__(self, transport):
        self._transport = transport
    def send(self, messages):
        if moment == "before sending":
            os.kill(os.getpid(), signal.SIGKILL)
        self._transport.send(messages)
        if moment == "before remembering":
            os.kill(os.getpid(), signal.SIGKILL)
    def hung_up(self):
        return self._transport.hung_up()
    def close(self):
        self._transport.close()

source = SyslogSource(host="node1", app_name="DICOM-NODE", process="17")
forwarding.Forwarder(Path(sys.argv[1]), Killing(open_transport(section)), source=source, retry_s=0.1).forward_once()
"""


@pytest.mark.parametrize("moment", ["before sending", "before remembering"])
def test_a_node_that_is_killed_between_append_and_send_sends_after_its_restart(moment, tls_repository, section, trail, folder):
    for number in range(10):
        trail.append(numbered(number), at=AT)
    with tls_repository:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, folder, section.model_dump_json(), moment],
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL
        assert unsent(folder) == 10
        forwarder(folder, section).forward_once()
        eventually(lambda: in_order_and_complete(numbers(tls_repository), 10), "all arrived")


def test_two_processes_that_would_forward_the_same_trail_take_turns(tls_repository, section, trail, folder):
    for number in range(30):
        trail.append(numbered(number), at=AT)
    with tls_repository, Forwarding(folder, section), Forwarding(folder, section):
        eventually(lambda: len(numbers(tls_repository)) >= 30, "all arrived")
        eventually(lambda: unsent(folder) == 0, "all is remembered")
    assert numbers(tls_repository) == list(range(30)), "each once"


def test_a_repository_that_nobody_vouches_for_gets_nothing(tls_repository, section, trail, folder, tmp_path):
    stranger = Authority(tmp_path / "stranger", name="Stranger")
    wrong = section.model_copy(update={"tls": section.tls.model_copy(update={"trusted_certificates": stranger.certificate})})
    trail.append(numbered(0), at=AT)
    with tls_repository:
        with pytest.raises(RepositoryUnreachableError, match=r"no TLS with 127\.0\.0\.1"):
            forwarder(folder, wrong).forward_once()
        assert unsent(folder) == 1
    assert tls_repository.messages() == []


def test_a_repository_that_does_not_want_our_certificate_does_not_count_as_reached(tls_repository, section, trail, folder, tmp_path):
    stranger = Authority(tmp_path / "stranger", name="Stranger").issue("node")
    wrong = section.tls.model_copy(update={"certificate": stranger.certificate, "key": stranger.key})
    trail.append(numbered(0), at=AT)
    with tls_repository, pytest.raises(RepositoryUnreachableError):
        forwarder(folder, section.model_copy(update={"tls": wrong})).forward_once()
    assert unsent(folder) == 1


def test_a_repository_over_udp_gets_the_messages(tmp_path, trail, folder):
    for name in EVERY_EVENT:
        trail.append(message(name), at=AT)
    with Rsyslog(tmp_path / "repository") as repository:
        forwarder(folder, SyslogUdpRepository(host="127.0.0.1", port=repository.port)).forward_once()
        received = eventually(lambda: len(repository.messages()) == len(EVERY_EVENT) and repository.messages(), "all arrived")
    assert [text.lstrip(" \ufeff") for *_, text in received] == [message(name) for name in EVERY_EVENT]


def test_over_udp_a_host_where_nobody_listens_is_noticed(trail, folder):
    sender = forwarder(folder, SyslogUdpRepository(host="127.0.0.1", port=free_port(socket.SOCK_DGRAM)))

    def sends_in_vain():
        trail.append(numbered(0), at=AT)
        try:
            sender.forward_once()
        except RepositoryUnreachableError:
            return True
        return False

    eventually(sends_in_vain, "the first datagram leaves, and its echo that nobody listens stops the next")
    assert unsent(folder) > 0


def test_a_file_gets_a_line_a_message_that_only_its_owner_reads(tmp_path, trail, folder):
    path = tmp_path / "syslog.txt"
    sender = forwarder(folder, FileRepository(path=path))
    for number in range(3):
        trail.append(numbered(number), at=AT)
        sender.forward_once()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines == [syslog_message(numbered(number), at=AT, source=HEADER).decode() for number in range(3)]
    assert lines[0].startswith(f"<85>1 {AT} node1 DICOM-NODE 17 DICOM+RFC3881 - \ufeff<AuditMessage>")
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_removed_to_make_room_is_not_waited_for(tmp_path, folder):
    trail = Trail(folder, file_bytes=2000, maximum_bytes=6000, forwarded=True)
    for number in range(30):
        trail.append(numbered(number), at=AT)
    path = tmp_path / "syslog.txt"
    sender = forwarder(folder, FileRepository(path=path))
    while sender.forward_once():
        pass
    assert unsent(folder) == 0
    sent = [int(line.partition("number-")[2].partition('"')[0]) for line in path.read_text().splitlines()]
    assert sent[-1] == 29
    assert all(after == before + 1 for before, after in pairwise(sent))

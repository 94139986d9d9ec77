"""Audit record repositories to send to: rsyslog (Debian), over TLS and UDP."""

import shutil
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.waiting import eventually

RSYSLOGD = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/sbin")


def free_port(kind=socket.SOCK_STREAM):
    with closing(socket.socket(socket.AF_INET, kind)) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Rsyslog:
    """rsyslogd on the loopback address, which writes a line for each message: MSGID, PRI, APP-NAME and MSG, apart by tabs."""

    def __init__(self, folder: Path, *, authority=None, identity=None):
        if RSYSLOGD is None:
            pytest.skip("rsyslog is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.output = folder, folder / "received.log"
        self.udp = authority is None
        self.port = free_port(socket.SOCK_DGRAM if self.udp else socket.SOCK_STREAM)
        self._settings = folder / "rsyslog.conf"
        self._settings.write_text(self._configuration(authority, identity))
        self._process = None

    def _configuration(self, authority, identity):
        template = 'template(name="audit" type="string" string="%msgid%\\t%pri%\\t%app-name%\\t%msg%\\n")'
        write = f'action(type="omfile" file="{self.output}" template="audit" asyncWriting="off" flushOnTXEnd="on")'
        common = f'global(workDirectory="{self._folder}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off"'
        if self.udp:
            listen = f'module(load="imudp")\ninput(type="imudp" address="127.0.0.1" port="{self.port}")'
            return f"{common})\n{template}\n{listen}\n{write}\n"
        files = f'"{authority.certificate}" DefaultNetstreamDriverCertFile="{identity.certificate}"'
        common += f' DefaultNetstreamDriver="gtls" DefaultNetstreamDriverCAFile={files} DefaultNetstreamDriverKeyFile="{identity.key}")'
        driver = 'StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid"'
        listen = f'module(load="imtcp" {driver})\ninput(type="imtcp" address="127.0.0.1" port="{self.port}")'
        return f"{common}\n{template}\n{listen}\n{write}\n"

    def start(self):
        """Run it until it listens."""
        self._process = subprocess.Popen(
            [RSYSLOGD, "-n", "-f", self._settings, "-i", self._folder / "rsyslog.pid"],
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "rsyslog.err").open("ab"),
        )
        eventually(self._listens, "rsyslog listens")

    def _listens(self):
        assert self._process.poll() is None, (self._folder / "rsyslog.err").read_text()
        if self.udp:
            held = f"0100007F:{self.port:04X}"
            return held in Path("/proc/net/udp").read_text()
        with closing(socket.socket()) as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, *, number=signal.SIGTERM):
        """End it, in order or by SIGKILL."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    def freeze(self):
        """Let it read nothing any more, while its host still takes what is sent."""
        self._process.send_signal(signal.SIGSTOP)

    def messages(self):
        """What was written: (MSGID, PRI, APP-NAME, MSG) of each message."""
        if not self.output.exists():
            return []
        return [tuple(line.split("\t", 3)) for line in self.output.read_text(encoding="utf-8").splitlines()]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

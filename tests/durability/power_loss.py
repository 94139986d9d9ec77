"""Power loss, simulated: everything that a node does to its files is recorded (strace), and replayed up to a moment as a disk
would have it then: what was synchronised is there, of the rest nothing or any part.

A strict disk: a file's bytes survive by fsync of the file, its name by fsync of its folder, and in no other way.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.durability.life import Place

ROOT = Path(__file__).parents[2]
CALLS = (
    "openat,open,creat,close,dup,dup2,dup3,fcntl,write,pwrite64,writev,pwritev,ftruncate,truncate,fsync,fdatasync,"
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,lseek,copy_file_range,sendfile,fallocate,"
    "io_submit,io_getevents"
)
_LINE = re.compile(r"^(\d+) +(\d+\.\d+) (.*)$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)[^<]*(?:<(\d+\.\d+)>)?$", re.DOTALL)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, kw_only=True)
class Call:
    """A system call that succeeded: `ended` in seconds since 1970."""

    name: str
    arguments: str
    result: int
    ended: float

    def texts(self):
        return [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(self.arguments)]

    def numbers(self):
        """The arguments that are plain numbers, in order."""
        return [int(number) for number in re.findall(r"(?<![\w\\\"])-?\d+(?![\w\"])", _TEXT.sub("", self.arguments))]


@cache
def can_trace():
    """Say whether there is a strace that may trace."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True)
    return tried.returncode == 0


def start_traced(place):
    """Start a node in `place` whose file operations are recorded in `place.folder / "calls"`."""
    command = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-ttt",
        "-T",
        "-xx",
        "-s",
        "100000000",
        "-e",
        f"trace={CALLS}",
        "-o",
        place.folder / "calls",
    ]
    code = "import sys; from pathlib import Path; from tests.durability.life import Place, live; live(Place(folder=Path(sys.argv[1])))"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen([*command, sys.executable, "-c", code, place.folder], env=environment)


def read_calls(path, folder):
    """Return the calls of a recording that succeeded, in the order in which they ended; of other files only that they are open."""
    marker = "".join(f"\\x{byte:02x}" for byte in os.fsencode(folder))
    unfinished, calls = {}, []
    for line in path.read_text().splitlines():
        parts = _LINE.match(line)
        if parts is None:
            continue
        thread, seen, text = parts[1], float(parts[2]), parts[3]
        if text.endswith("<unfinished ...>"):
            unfinished[thread] = text.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := _RESUMED.match(text):
            text = unfinished.pop(thread, "") + resumed[1]
        call = _CALL.match(text)
        if call is None or int(call[3]) < 0:
            continue
        # A resumed call was seen to end then, before its thread went on. Its beginning and duration are not exact enough to say whether
        # another thread had closed the descriptor that it opened.
        ended = seen if resumed else seen + float(call[4] or 0)
        if call[1] in {"openat", "open"} and marker not in call[2]:
            calls.append(Call(name="elsewhere", arguments="", result=int(call[3]), ended=ended))
            continue
        calls.append(Call(name=call[1], arguments=call[2], result=int(call[3]), ended=ended))
    return sorted(calls, key=lambda call: call.ended)


@dataclass(kw_only=True)
class _File:
    """Bytes as they are, as they are on disk, and what happened to them since."""

    now: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    since: list = field(default_factory=list)
    changes: int = 0

    def write(self, offset, data):
        _write(self.now, offset, data)
        self._note(offset, data)

    def truncate(self, size):
        _truncate(self.now, size)
        self._note(size, None)

    def sync(self, changes=None):
        """Synchronise all, or the first so many changes."""
        if changes is None or changes >= self.changes:
            self.synced, self.since = bytes(self.now), []
            return
        content = bytearray(self.synced)
        for number, offset, data in self.since:
            if number <= changes:
                _apply(content, offset, data)
        self.synced, self.since = bytes(content), [one for one in self.since if one[0] > changes]

    def after_power_loss(self, keep):
        content = bytearray(self.synced)
        for _, offset, data in self.since:
            if keep():
                _apply(content, offset, data)
        return bytes(content)

    def _note(self, offset, data):
        self.changes += 1
        self.since.append((self.changes, offset, data))


def _apply(content, offset, data):
    if data is None:
        _truncate(content, offset)
    else:
        _write(content, offset, data)


def _write(content, offset, data):
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _truncate(content, size):
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    del content[size:]


@dataclass(kw_only=True)
class _Open:
    file: _File | None
    folder: str | None
    at: int = 0
    append: bool = False


class Disk:
    """What lies under `top`: names as they are, and names as they are on disk."""

    def __init__(self, top, initial):
        """`initial`: relative path -> bytes that were there, durably, before the recording."""
        self.top = os.fspath(top)
        self.names = {f"{self.top}/{path}": _File(now=bytearray(data), synced=data) for path, data in initial.items()}
        self.durable = dict(self.names)
        self.folders = {self.top, *(os.path.dirname(path) for path in self.names)}  # noqa: PTH120 - paths are strings here
        self.durable_folders = set(self.folders)
        self.open = {}
        self.renamed = {}  # path -> number of the last call that changed what is there
        self.submitted = {}  # what an io_submit is known by -> what was open, and the changes that it makes durable
        self.number = 0

    def apply(self, call):
        """Do what a call did."""
        handler = getattr(self, f"_{call.name}", None)
        self.number += 1
        if handler is not None:
            handler(call)

    def after_power_loss(self, keep):
        """Return relative path -> bytes, as found after the power came back. `keep()` is asked of each thing that was not synchronised."""
        found = {}
        for path in self.names.keys() | self.durable.keys():
            file = self.durable.get(path)
            if self.names.get(path) is not file and keep():
                file = self.names.get(path)
            if file is not None and all(folder in self.durable_folders for folder in self._above(path)):
                found[path.removeprefix(f"{self.top}/")] = file.after_power_loss(keep)
        return found

    def _above(self, path):
        while (path := os.path.dirname(path)) != self.top:  # noqa: PTH120 - as above
            yield path

    def _mine(self, path):
        return path == self.top or path.startswith(f"{self.top}/")

    # Calls. Paths are absolute: the node makes them so.

    def _elsewhere(self, call):
        self.open.pop(call.result, None)

    def _openat(self, call):
        path = os.fsdecode(call.texts()[0])
        if not self._mine(path):
            self.open.pop(call.result, None)
            return
        if "O_DIRECTORY" in call.arguments or path in self.folders:
            self.open[call.result] = _Open(file=None, folder=path)
            return
        if path not in self.names:
            self.names[path] = _File()
            self.renamed[path] = self.number
        if "O_TRUNC" in call.arguments:
            self.names[path].truncate(0)
        self.open[call.result] = _Open(file=self.names[path], folder=None, append="O_APPEND" in call.arguments)

    _open = _openat

    def _close(self, call):
        self.open.pop(call.numbers()[0], None)

    def _dup(self, call):
        if (known := self.open.get(call.numbers()[0])) is not None:
            self.open[call.result] = known

    _dup2 = _dup3 = _dup

    def _fcntl(self, call):
        if "F_DUPFD" in call.arguments:
            self._dup(call)

    def _write(self, call):
        if (known := self._file(call)) is not None:
            data = b"".join(call.texts())[: call.result]
            offset = len(known.file.now) if known.append else known.at
            known.file.write(offset, data)
            known.at = offset + len(data)

    _writev = _write

    def _pwrite64(self, call):
        if (known := self._file(call)) is not None:
            known.file.write(call.numbers()[-1], call.texts()[0][: call.result])

    def _refuse(self, call):
        if self._file(call) is not None:
            raise NotImplementedError(f"{call.name} on a file of the node: teach the simulation")

    _pwritev = _copy_file_range = _sendfile = _fallocate = _refuse

    def _lseek(self, call):
        if (known := self._file(call)) is not None:
            known.at = call.result

    def _ftruncate(self, call):
        if (known := self._file(call)) is not None:
            known.file.truncate(call.numbers()[-1])

    def _fsync(self, call):
        known = self.open.get(call.numbers()[0])
        if known is not None:
            self._synchronise(known, known.file.changes if known.file is not None else self.number)

    def _synchronise(self, known, changes):
        """Make durable what was so when an fsync began: the first so many changes of a file, or what calls up to that number did."""
        if known.folder is None:
            known.file.sync(changes)
            return
        for path in self.names.keys() | self.durable.keys():
            if os.path.dirname(path) == known.folder and self.renamed.get(path, 0) <= changes:  # noqa: PTH120 - as above
                _same(self.durable, self.names, path)
        made = {folder for folder in self.folders if self.renamed.get(folder, 0) <= changes}
        self.durable_folders |= {folder for folder in made if os.path.dirname(folder) == known.folder}  # noqa: PTH120 - as above

    _fdatasync = _fsync

    def _io_submit(self, call):
        found = re.findall(r"aio_data=(0x[0-9a-f]+|0)[^}]*?aio_lio_opcode=IOCB_CMD_(\w+)[^}]*?aio_fildes=(\d+)", call.arguments)
        for data, operation, descriptor in found[: call.result]:
            if (known := self.open.get(int(descriptor))) is None:
                continue
            if operation not in {"FSYNC", "FDSYNC"}:
                raise NotImplementedError(f"{operation} on a file of the node: teach the simulation")
            self.submitted[data] = known, known.file.changes if known.file is not None else self.number

    def _io_getevents(self, call):
        for data, result in re.findall(r"data=(0x[0-9a-f]+|0)[^}]*?res=(-?\d+)", call.arguments):
            known, changes = self.submitted.pop(data, (None, 0))
            if known is not None and result == "0":
                self._synchronise(known, changes)

    def _linkat(self, call):
        source, target = map(os.fsdecode, call.texts()[:2])
        if self._mine(target) and source in self.names:
            self.names[target] = self.names[source]
            self.renamed[target] = self.number

    _link = _linkat

    def _renameat(self, call):
        source, target = map(os.fsdecode, call.texts()[:2])
        if self._mine(target) and source in self.names:
            self.names[target] = self.names.pop(source)
            self.renamed[source] = self.renamed[target] = self.number

    _rename = _renameat2 = _renameat

    def _unlinkat(self, call):
        path = os.fsdecode(call.texts()[0])
        self.names.pop(path, None)
        self.renamed[path] = self.number

    _unlink = _unlinkat

    def _mkdirat(self, call):
        path = os.fsdecode(call.texts()[0])
        if self._mine(path):
            self.folders.add(path)
            self.renamed[path] = self.number

    _mkdir = _mkdirat

    def _file(self, call):
        known = self.open.get(call.numbers()[0])
        return known if known is not None and known.file is not None else None


def _same(durable, names, path):
    if path in names:
        durable[path] = names[path]
    else:
        durable.pop(path, None)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A life of a node: its calls, what lay in its folder before, and what the modality was told when."""

    top: str
    initial: dict
    calls: list
    reports: str
    acknowledged: dict

    def moments(self):
        """When something new is to be found after a crash: the ends of the calls that change a file of the node."""
        return [call.ended for call in self.calls if call.name not in {"elsewhere", "close", "lseek", "fcntl", "openat"}]

    def crash(self, at, keep, place):
        """Make of `place` what is found after a power loss at that time; return the instances acknowledged until then."""
        disk = Disk(self.top, self.initial)
        archive = Disk(self.reports, {})
        for call in self.calls:
            if call.ended > at:
                break
            disk.apply(call)
            archive.apply(call)
        for relative, data in disk.after_power_loss(keep).items():
            path = place.data / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for path, file in archive.names.items():  # the archive is another machine: it keeps what it took
            if path.endswith(".dcm"):
                (place.reports / Path(path).name).write_bytes(file.now)
        return {uid: heard for uid, heard in self.acknowledged.items() if heard <= at}


def recording(place: Place, initial):
    """Return the recording that a traced life in `place` left."""
    return Recording(
        top=os.fspath(place.data),
        initial=initial,
        calls=read_calls(place.folder / "calls", place.folder),
        reports=os.fspath(place.reports),
        acknowledged=place.acknowledged(),
    )

"""Orthanc as a real peer: started on free loopback ports, asked over its REST API, stopped by its own process id.

Orthanc 1.10 has no setting for the address that its DICOM port listens on, so only the modalities given here may use it,
and only from their addresses. Its REST API answers this machine only.
"""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_STARTS = 3
_READY_S = 30.0
_LOG_TAIL_CHARACTERS = 4000

# Asynchronous, because a script that waits holds up all other scripts. Jobs are retried by nobody, as in a real Orthanc.
_ROUTE_STABLE_STUDIES = """
function OnStableStudy(studyId, tags, metadata)
  local resources = {}
  for _, series in ipairs(ParseJson(RestApiGet('/studies/' .. studyId .. '/series'))) do
    -- A result that comes back makes the study stable once more; sending it on would go round in circles.
    if series['MainDicomTags']['Modality'] ~= 'SR' then
      table.insert(resources, series['ID'])
    end
  end
  if #resources > 0 then
    RestApiPost('/modalities/%s/store', DumpJson({Resources = resources, Asynchronous = true}, true))
  end
end
"""


DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class OrthancError(Exception):
    """Orthanc did not start, died, or answered with an error. The message ends with its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """A DICOM peer that Orthanc knows: it may store there and be stored to."""

    name: str
    ae_title: str
    host: str = "127.0.0.1"
    port: int


def find_orthanc() -> str | None:
    """Return the path of the installed Orthanc, or None."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


class OrthancPeer:
    """A running Orthanc while its `with` block runs.

    Args:
        folder: where its database, configuration and log go; kept afterwards.
        ae_title: its own AE title; it refuses associations that call another one.
        modalities: who may talk to it over DICOM, and to whom it may send.
        dicomweb: serve STOW-RS too, under `dicomweb_url`.
        route_stable_studies_to: name of the modality to which each study goes once nothing new came for `stable_age_s`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ORTHANC",
        modalities: Sequence[Modality] = (),
        route_stable_studies_to: str | None = None,
        stable_age_s: int = 1,
        dicomweb: bool = False,
    ) -> None:
        if route_stable_studies_to is not None and route_stable_studies_to not in {modality.name for modality in modalities}:
            raise ValueError(f"there is no modality {route_stable_studies_to!r} to route to")
        self.ae_title = ae_title
        self.host = "127.0.0.1"
        self._folder = folder
        self._modalities = tuple(modalities)
        self._route_to = route_stable_studies_to
        self._stable_age_s = stable_age_s
        self._dicomweb = dicomweb
        self.dicom_port = self.http_port = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        for start in range(1, _STARTS + 1):
            self._start()
            try:
                self._wait_until_ready()
            except OrthancError:
                self._stop()
                if start == _STARTS or "already in use" not in self.log():  # somebody took the free port in between
                    raise
            else:
                return self
        raise AssertionError("unreachable")

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()
        if exc is not None:
            exc.add_note(f"Orthanc's log:\n{self.log()}")

    def _start(self) -> None:
        program = find_orthanc()
        if program is None:
            raise OrthancError("Orthanc is not installed (Debian, Ubuntu: apt-get install orthanc)")
        self.dicom_port, self.http_port = _free_ports()
        configuration = self._folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration(), indent=2))
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen([program, "--verbose", str(configuration)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _configuration(self) -> dict[str, Any]:
        scripts = []
        if self._route_to is not None:
            script = self._folder / "route.lua"
            script.write_text(_ROUTE_STABLE_STUDIES % self._route_to)
            scripts.append(str(script))
        return {
            "Name": self.ae_title,
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "Plugins": [str(DICOMWEB_PLUGIN)] if self._dicomweb else [],
            "DicomWeb": {"Enable": self._dicomweb, "Root": "/dicom-web/"},
            "LuaScripts": scripts,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "WebDavEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": {modality.name: [modality.ae_title, modality.host, modality.port] for modality in self._modalities},
            "OverwriteInstances": False,
            "StableAge": self._stable_age_s,
            "SaveJobs": False,
            "DicomScuTimeout": 10,
            "DicomScpTimeout": 10,
        }

    @property
    def dicomweb_url(self) -> str:
        """The base URL of its DICOMweb service."""
        return f"http://{self.host}:{self.http_port}/dicom-web"

    @property
    def _log_file(self) -> Path:
        return self._folder / "orthanc.log"

    def log(self) -> str:
        """Return the end of Orthanc's log."""
        return self._log_file.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:] if self._log_file.exists() else ""

    def _wait_until_ready(self) -> None:
        self.wait_for(self._is_ready, timeout_s=_READY_S, what="ready")

    def _is_ready(self) -> bool:
        try:
            self._ask("GET", "/system")
            socket.create_connection((self.host, self.dicom_port), timeout=1).close()
        except (OSError, urllib.error.URLError):
            return False
        return True

    def wait_for(self, condition: Callable[[], bool], *, timeout_s: float, what: str = "as expected") -> None:
        """Return as soon as `condition()` holds.

        Raises:
            OrthancError: it does not within `timeout_s` seconds, or Orthanc died.
        """
        deadline = time.monotonic() + timeout_s
        between = threading.Event()
        while not condition():
            if self._process.poll() is not None:
                raise OrthancError(f"Orthanc ended with exit status {self._process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise OrthancError(f"Orthanc is not {what} after {timeout_s} s:\n{self.log()}")
            between.wait(0.05)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://{self.host}:{self.http_port}{path}", data=body, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business on loopback
        with opener.open(request, timeout=30) as answer:
            return bytes(answer.read())

    def ask(self, method: str, path: str, body: bytes | str | dict[str, Any] | None = None) -> Any:
        """Return the JSON that the REST API answers.

        Raises:
            OrthancError: it answered with an HTTP error.
        """
        if isinstance(body, dict):
            body = json.dumps(body)
        try:
            answer = self._ask(method, path, body.encode() if isinstance(body, str) else body)
        except urllib.error.HTTPError as exc:
            raise OrthancError(f"{method} {path} answered {exc.code}: {exc.read()[:500]!r}\n{self.log()}") from exc
        return json.loads(answer) if answer else None

    def upload(self, part_10: bytes) -> str:
        """Store a DICOM file over the REST API and return Orthanc's identifier of the instance."""
        return str(self.ask("POST", "/instances", part_10)["ID"])

    def find(self, uid: str) -> str | None:
        """Return Orthanc's identifier of the study, series or instance with that UID, or None."""
        found = self.ask("POST", "/tools/lookup", uid)
        return str(found[0]["ID"]) if found else None

    def tags(self, sop_instance_uid: str) -> dict[str, Any]:
        """Return the tags of an instance, keyword to value, as Orthanc reads them."""
        return dict(self.ask("GET", f"/instances/{self._known(sop_instance_uid)}/simplified-tags"))

    def file(self, sop_instance_uid: str) -> bytes:
        """Return the Part 10 file of an instance."""
        return self._ask("GET", f"/instances/{self._known(sop_instance_uid)}/file")

    def series(self, study_instance_uid: str) -> list[dict[str, Any]]:
        """Return the series of a study as the REST API shows them; none if the study is not there."""
        study = self.find(study_instance_uid)
        return list(self.ask("GET", f"/studies/{study}/series")) if study else []

    def reports(self, study_instance_uid: str) -> tuple[str, ...]:
        """Return the SOP Instance UIDs of a study's Structured Reports."""
        instances = [key for one in self.series(study_instance_uid) if one["MainDicomTags"]["Modality"] == "SR" for key in one["Instances"]]
        return tuple(str(self.ask("GET", f"/instances/{key}")["MainDicomTags"]["SOPInstanceUID"]) for key in instances)

    def count_instances(self) -> int:
        return int(self.ask("GET", "/statistics")["CountInstances"])

    def send(self, uid: str, modality: str) -> None:
        """Send the study, series or instance with that UID to `modality` by C-STORE; it was accepted when this returns."""
        self.ask("POST", f"/modalities/{modality}/store", self._known(uid))

    def echo(self, modality: str) -> None:
        """C-ECHO `modality`."""
        self.ask("POST", f"/modalities/{modality}/echo", "{}")

    def _known(self, uid: str) -> str:
        key = self.find(uid)
        if key is None:
            raise OrthancError(f"Orthanc has nothing with the UID {uid}:\n{self.log()}")
        return key


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]

"""Independent validators of Structured Reports, each with the messages that are known to be wrong.

A validator that is missing is an error and never a skip: a report that nobody checked has not passed.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_PIXELMED = Path("/usr/share/java/pixelmed.jar")
_XPATH_LIMITS = ("-Djdk.xml.xpathTotalOpLimit=0", "-Djdk.xml.xpathExprOpLimit=0", "-Djdk.xml.xpathExprGrpLimit=0")
_TIMEOUT_S = 300

_DCIODVFY_ALLOWED = (
    # Device UID came into the macro after this tool's release; IHE AIR requires it.
    r"ContributingEquipmentSequence.*DeviceUID.*not present in standard DICOM IOD",
    # True of the source: it has no such value, and none is made up.
    r"^Warning - .*Missing attribute or value that would be needed to build DICOMDIR$",
    r"^Warning - </(PatientName\(0010,0010\)|ReferringPhysicianName\(0008,0090\))\[1\]> - .* - Retired Person Name form$",
    # The site's own coding scheme, in codes that were copied from the source.
    r"^Warning - </(ProcedureCodeSequence|ReferencedRequestSequence).*CodingSchemeDesignator.* - Unrecognized defined term",
)
_PIXELMED_ALLOWED = (
    # The rows for qualitative evaluations came into TID 1501 after this tool's tables.
    r'^Warning: .*\(125007,DCM,"Measurement Group"\)/CODE .*: Content Item not in template$',
    # An instance of a private class cannot be an IMAGE.
    r'^Warning: .*\(125007,DCM,"Measurement Group"\)/(NUM .*/)?COMPOSITE \(121112.*: Content Item not in template$',
)
_DSRDUMP_ALLOWED = (r"VR checker does not support this Specific Character Set",)


class MissingValidatorError(Exception):
    """A validator is not installed. The message says what to install."""


def dciodvfy(path: Path) -> tuple[str, ...]:
    """Return what dicom3tools' dciodvfy says against the file."""
    _require("dciodvfy", "dicom3tools")
    done = _run(["dciodvfy", "-new", str(path)])
    lines = [line for line in done.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    if done.returncode != 0 and not any(line.startswith("Error") for line in lines):
        lines.append(f"Error - dciodvfy ended with {done.returncode}")
    return _without(lines, _DCIODVFY_ALLOWED)


def dsrdump(path: Path) -> tuple[str, ...]:
    """Return what DCMTK's dsrdump says against the file."""
    _require("dsrdump", "dcmtk")
    done = _run(["dsrdump", "-Ph", "+Pn", str(path)])
    lines = [line for line in done.stderr.splitlines() if re.match(r"[EWF]:", line)]
    if done.returncode != 0:
        lines.append(f"E: dsrdump ended with {done.returncode}")
    return _without(lines, _DSRDUMP_ALLOWED)


def pixelmed(paths: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """Return what PixelMed's DicomSRValidator says against each file."""
    _require("javac", "default-jdk-headless")
    if not _PIXELMED.exists():
        raise MissingValidatorError(f"{_PIXELMED} is missing; install it: apt-get install libpixelmed-java")
    batch = Path(__file__).with_name("PixelMedBatch.java")
    done = _run(["java", "-Xmx2g", *_XPATH_LIMITS, "-cp", str(_PIXELMED), str(batch), *map(str, paths)])
    chapters = dict(re.findall(r"^=== (.*)\n((?:(?!=== ).*\n?)*)", done.stdout, flags=re.MULTILINE))
    return {path: _pixelmed_problems(chapters.get(str(path), "")) for path in paths}


def _pixelmed_problems(chapter: str) -> tuple[str, ...]:
    lines = [line for line in chapter.splitlines() if line.startswith(("Error", "Warning"))]
    lines += [
        f"Error: PixelMed did not say: {words}"
        for words in ("Found Root Template TID_1500", "IOD validation complete")
        if words not in chapter
    ]
    return _without(lines, _PIXELMED_ALLOWED)


def _without(lines: Iterable[str], allowed: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for line in lines if not any(re.search(pattern, line) for pattern in allowed))


def _require(tool: str, package: str) -> None:
    if shutil.which(tool) is None:
        raise MissingValidatorError(f"{tool} is missing; install it: apt-get install {package}")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False)

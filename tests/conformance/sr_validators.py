"""Independent validators of the documents that we make, each with the messages that are known to be wrong.

A validator that is missing is an error and never a skip: a report that nobody checked has not passed.
"""

import logging
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from dicom_validator.validator.iod_validator import IODValidator
from fhir.resources.R4B.bundle import Bundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from pydicom import dcmread

from tests.conformance.dicom_validator_tables import tables

_PIXELMED = Path("/usr/share/java/pixelmed.jar")
_XPATH_LIMITS = ("-Djdk.xml.xpathTotalOpLimit=0", "-Djdk.xml.xpathExprOpLimit=0", "-Djdk.xml.xpathExprGrpLimit=0")
_TIMEOUT_S = 1200  # a batch on a busy machine

_DCIODVFY_ALLOWED = (
    # Device UID came into the macro after this tool's release; IHE AIR requires it.
    r"ContributingEquipmentSequence.*DeviceUID.*not present in standard DICOM IOD",
    # True of the source: it has no such value, and none is made up.
    r"^Warning - .*Missing attribute or value that would be needed to build DICOMDIR$",
    r"^Warning - </(PatientName\(0010,0010\)|ReferringPhysicianName\(0008,0090\))\[1\]> - .* - Retired Person Name form$",
    # The site's own coding scheme, in codes that were copied from the source.
    r"^Warning - </(ProcedureCodeSequence|ReferencedRequestSequence).*CodingSchemeDesignator.* - Unrecognized defined term",
)
_DCIODVFY_ALLOWED_OF_OURS = (
    # The one code of ours: a result that is withdrawn. It stands in a report that withdraws, and nowhere else.
    r"^Warning - </(Content|CodingSchemeIdentification)Sequence.*CodingSchemeDesignator.* - Unrecognized defined term = <99DCMNODE>$",
    r"^Warning - </CodingSchemeIdentificationSequence.*CodingSchemeUID.* = <2\.25\.186825408775117362453789928189925554628>$",
    # Nobody told the node which side a page of words and pictures is of.
    r"^Warning - </Laterality\(0020,0060\)> - is only permitted to be empty when actually unknown",
)
_PIXELMED_ALLOWED_TEXT = (
    # Basic Text SR has no numbers, so it cannot follow TID 1500 and claims no template; the tool then knows none to compare with.
    r"^Warning: .*: Content Item not in template$",
)
_PIXELMED_ALLOWED_KEY_OBJECTS = (
    # The tool tests a sibling code where TID 2010 means the document title.
    r"Row [34]\] CODE CID 701[12].*Conditional content item present when condition not satisfied",
)
_PIXELMED_ALLOWED = (
    # The rows for qualitative evaluations came into TID 1501 after this tool's tables.
    r'^Warning: .*\(125007,DCM,"Measurement Group"\)/CODE .*: Content Item not in template$',
    # An instance of a private class cannot be an IMAGE.
    r'^Warning: .*\(125007,DCM,"Measurement Group"\)/(NUM .*/)?COMPOSITE \(121112.*: Content Item not in template$',
)
_DSRDUMP_ALLOWED = (
    r"VR checker does not support this Specific Character Set",
    r"^W: Check for template constraints not yet supported",  # said of every Key Object Selection
)


_DCMPSCHK_ALLOWED = (  # its messages of several lines are one line here
    # Its own pattern for DT fits the value that it complains of.
    r"^Error: Attribute value does not conform.*Affected attribute: ContributionDateTime .*Attribute value   : \[\d{14}[+-]\d{4}\]",
    # It knows ASCII only.
    r"^Error: Attribute value does not conform.*Type (PN|LO|SH) +Attribute value   : \[.*[^\x00-\x7f].*\]",
    # True of the source, and identity is kept as it is.
    r"^patientName absent or empty in presentation state$",
    r"^Error: Value Length too large\. +Affected length   : (70 bytes, should be 64|20 bytes, should be 16) bytes maximum",
)


class MissingValidatorError(Exception):
    """A validator is not installed. The message says what to install."""


def dciodvfy(path: Path) -> tuple[str, ...]:
    """Return what dicom3tools' dciodvfy says against the file."""
    _require("dciodvfy", "dicom3tools")
    done = _run(["dciodvfy", "-new", str(path)])
    lines = [line for line in done.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    if done.returncode != 0 and not any(line.startswith("Error") for line in lines):
        lines.append(f"Error - dciodvfy ended with {done.returncode}")
    return _without(lines, (*_DCIODVFY_ALLOWED, *_DCIODVFY_ALLOWED_OF_OURS))


def dsrdump(path: Path) -> tuple[str, ...]:
    """Return what DCMTK's dsrdump says against the file."""
    _require("dsrdump", "dcmtk")
    done = _run(["dsrdump", "-Ph", "+Pn", str(path)])
    lines = [line for line in done.stderr.splitlines() if re.match(r"[EWF]:", line)]
    if done.returncode != 0:
        lines.append(f"E: dsrdump ended with {done.returncode}")
    return _without(lines, _DSRDUMP_ALLOWED)


def dsr2html(path: Path) -> tuple[str, ...]:
    """Return what DCMTK says while it renders the file for people, and what is missing in the page."""
    _require("dsr2html", "dcmtk")
    return _rendered(path, "dsr2html", "</html>")


def dsr2xml(path: Path) -> tuple[str, ...]:
    """Return what DCMTK says while it writes the file as XML, and what is missing in that."""
    _require("dsr2xml", "dcmtk")
    return _rendered(path, "dsr2xml", "</report>")


def _rendered(path: Path, tool: str, end: str) -> tuple[str, ...]:
    done = _run([tool, str(path)])
    lines = [line for line in done.stderr.splitlines() if re.match(r"[EWF]:", line)]
    if done.returncode != 0 or end not in done.stdout:
        lines.append(f"E: {tool} ended with {done.returncode}, its output {'whole' if end in done.stdout else 'not whole'}")
    return _without(lines, _DSRDUMP_ALLOWED)


def dicom_validator(path: Path) -> tuple[str, ...]:
    """Return what dicom-validator says against the file."""
    result = IODValidator(dcmread(path), tables(), log_level=logging.CRITICAL).validate()
    lines = [
        f"{module}: {tag} {error.code.name}" for module, errors in (result.module_errors or {}).items() for tag, error in errors.items()
    ]
    if result.errors != len(lines) or result.status.name not in {"Passed", "Failed"}:
        lines.append(f"dicom-validator: {result.status.name}, {result.errors} errors")
    return tuple(lines)


def dcmpschk(path: Path) -> tuple[str, ...]:
    """Return what DCMTK's checker of presentation states says against the file."""
    _require("dcmpschk", "dcmtk")
    done = _run(["dcmpschk", str(path)])
    said = re.sub(r"^[EW]: ?", "", done.stdout + done.stderr, flags=re.MULTILINE)
    if not re.search(r"^Test (passed|failed)", said, flags=re.MULTILINE):
        return ("dcmpschk did not end its test",)
    lines = re.sub(r"^Test.*\n", "\n", re.sub(r"\n {3,}", "   ", said), flags=re.MULTILINE).splitlines()
    return _without((line.strip() for line in lines if line.strip()), _DCMPSCHK_ALLOWED)


def message(path: Path) -> tuple[str, ...]:
    """Return what is wrong in an HL7 v2 or FHIR message, by the libraries that read them."""
    data = path.read_bytes()
    try:
        if path.suffix == ".json":
            Bundle.model_validate_json(data)
        else:
            parse_message(data.decode(), find_groups=True, validation_level=VALIDATION_LEVEL.TOLERANT)
    except (ValueError, HL7apyException) as exc:
        return (f"{type(exc).__name__}: {exc}",)
    return ()


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
    expected, allowed = ["IOD validation complete"], list(_PIXELMED_ALLOWED)
    if "Found BasicTextSR IOD" in chapter:
        allowed += _PIXELMED_ALLOWED_TEXT
    elif "Found KeyObjectSelectionDocument IOD" in chapter:
        allowed += _PIXELMED_ALLOWED_KEY_OBJECTS
    else:
        expected.append("Found Root Template TID_1500")
    lines += [f"Error: PixelMed did not say: {words}" for words in expected if words not in chapter]
    return _without(lines, allowed)


def _without(lines: Iterable[str], allowed: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for line in lines if not any(re.search(pattern, line) for pattern in allowed))


def _require(tool: str, package: str) -> None:
    if shutil.which(tool) is None:
        raise MissingValidatorError(f"{tool} is missing; install it: apt-get install {package}")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False)

"""One frame as DCMTK renders it, in 16 bits, with the window that we chose; and how far apart the two pictures are."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.frames import Frame
from inference.pixels.windows import robust_range

# Which of DCMTK's programs has the decoder. It has none for JPEG 2000 and Deflate by frame: GDCM takes the codestream apart first.
_PROGRAMS = {**dict.fromkeys(("50", "51", "57", "70"), "dcmj2pnm"), **dict.fromkeys(("80", "81"), "dcml2pnm")}
_JPEG_2000 = ("90", "91")
_WINDOW = re.compile(r"window (\S+)/(\S+)( \S+)? \((.+)\)")
_AS_THEY_ARE = re.compile(r"(\d+)-bit values as they are")
_PADDED = "pixel padding shown black"


class NotComparableError(Exception):
    """Why DCMTK has no picture to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Between two pictures, in levels of 8 bits, over what is not padding."""

    maximum: float
    mean: float

    @property
    def is_exact(self) -> bool:
        """True if both round to the same 8 bits, but for values that lie on an edge.

        DCMTK cuts its 16 bits off (1/257 of a level) and divides a VOI LUT of n bits by 2^n, not 2^n - 1 (1/16 of a level for 12 bits).
        """
        return self.maximum <= 0.1


def difference(path: Path, frame: Frame, transfer_syntax: str) -> Difference:
    """How far our picture of a frame is from DCMTK's.

    Raises:
        NotComparableError: DCMTK has none, or one of another size.
    """
    number = frame.ref.frame_number or 1
    try:
        theirs = rendered(path, options(frame), transfer_syntax, number)
    except NotComparableError as exc:
        if "cannot select VOI window" not in str(exc):
            raise
        theirs = rendered(path, _in_numbers(frame), transfer_syntax, number)  # DCMTK 3.6.7 does not look into functional groups
    ours = frame.pixels
    if theirs.shape != ours.shape:
        if theirs.ndim == 3 and ours.ndim == 2 and np.ptp(theirs, axis=2).max() == 0:
            theirs = theirs[..., 0]
        else:
            raise NotComparableError(f"DCMTK shows {theirs.shape}, we {ours.shape}")
    apart = np.abs(ours.astype(np.float64) - theirs) * 255
    if _PADDED in frame.steps and frame.padding is not None:
        apart = apart[~frame.padding]
    return Difference(maximum=float(apart.max(initial=0)), mean=float(apart.mean()) if apart.size else 0.0)


def options(frame: Frame) -> tuple[str, ...]:
    """What tells DCMTK to use the window that we used."""
    words = " ".join(frame.steps)
    if frame.pixels.ndim == 3:
        return ()
    if as_they_are := _AS_THEY_ARE.search(words):
        levels = 1 << int(as_they_are[1])
        return ("+Ww", str(levels // 2), str(levels))
    if "VOI LUT (header)" in words:
        return ("+Wl", "1")
    if "percentiles" in words:
        assert frame.values is not None
        low, high = robust_range(frame.values, frame.padding)
        if low >= high:
            raise NotComparableError("a frame of one value")
        return ("+Ww", repr((low + high) / 2 + 0.5), repr(high - low + 1))  # PS3.3 C.11.2.1.2.1
    found = _WINDOW.search(words)
    if found is None:
        raise NotComparableError(f"no way to tell DCMTK: {words}")
    return ("+Wi", "1") if found[4] == "header" else ("+Ww", found[1], found[2])


def _in_numbers(frame: Frame) -> tuple[str, ...]:
    found = _WINDOW.search(" ".join(frame.steps))
    assert found is not None
    return ("+Ww", found[1], found[2])


def rendered(path: Path, window: tuple[str, ...], transfer_syntax: str, frame_number: int = 1) -> np.ndarray:
    """DCMTK's picture in [0, 1], shape (rows, columns) or (rows, columns, 3).

    Raises:
        NotComparableError: it makes none.
    """
    kind = transfer_syntax.removeprefix("1.2.840.10008.1.2.4.")
    if kind in _JPEG_2000:
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw.dcm"
            done = subprocess.run(["gdcmconv", "--raw", str(path), str(raw)], capture_output=True, check=False)
            if done.returncode or not raw.exists():
                raise NotComparableError("DCMTK has no decoder for this, and GDCM fails")
            return _picture("dcm2pnm", raw, window, frame_number)
    return _picture(_PROGRAMS.get(kind, "dcm2pnm"), path, window, frame_number)


def _picture(program: str, path: Path, window: tuple[str, ...], frame_number: int) -> np.ndarray:
    command = [program, "-q", "-O", "+F", str(frame_number), *window, "+opw", str(path)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        loud = subprocess.run([part for part in command if part != "-q"], capture_output=True, check=False, text=True, errors="replace")
        complaint = next((line for line in loud.stderr.splitlines() if line.startswith(("E:", "F:"))), "DCMTK gives no picture")
        raise NotComparableError(re.sub(r"[\w./-]*/[\w./-]+", "FILE", complaint)[:90])
    kind, columns, rows, highest, *samples = done.stdout.split()
    found = np.array(samples, dtype=np.float64) / float(highest)
    return found.reshape((int(rows), int(columns), 3) if kind == b"P3" else (int(rows), int(columns)))

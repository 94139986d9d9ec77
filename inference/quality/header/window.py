"""Is the window of the header absurd for the values of the pixels?"""

from inference.attributes import functional_group, number
from inference.findings import QualityVerdict
from inference.pixels.windows import header_window
from inference.quality.check import Limit
from inference.quality.header.check import PROCESSING, HeaderSubject, header_verdict

LIMIT = Limit(
    value=0.05,
    unit="1",
    source="Measured: in 24 real images of all modalities at least 0.16 of the window has values, false alarms 0",
)


class WindowOfHeader:
    """The first window of the header, against the values of all frames that were read.

    Measured: the part of the window in which there are values; 0 if it lies beside them or has no width. Below a twentieth the image
    shows flat grey, black or white. A window may be much narrower than the values: that is what windows are for.
    """

    name = "window"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        header, pixels = subject.header, subject.pixels
        source = functional_group(header, 0, "FrameVOILUTSequence") or header
        if number(source, "WindowCenter") is None or pixels.lowest is None or pixels.highest is None or pixels.lowest >= pixels.highest:
            return None
        window = header_window(source)
        covered = 0.0
        if window is not None:
            start, end = window.centre - window.width / 2, window.centre + window.width / 2
            covered = max(min(end, pixels.highest) - max(start, pixels.lowest), 0.0) / window.width
        return header_verdict(
            self.name,
            subject,
            measured=covered,
            limit=LIMIT,
            found=covered < LIMIT.value,
            code=PROCESSING,
            good="The window of the header shows the values of the pixels.",
            bad="The window of the header shows next to nothing of the pixel values: on a workstation the image is flat, black or white.",
        )

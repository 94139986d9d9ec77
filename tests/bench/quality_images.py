"""The images on which the quality checks are judged: the shared data, as a node would see them, in two halves that share no patient."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread

from inference.attributes import number, text
from inference.findings import ImageRef
from inference.frames import Frame, UndecodableError, read_frames
from inference.quality import Sample
from inference.quality.frontal_chest import is_frontal_chest

Pixels = NDArray[np.float32]

_GREY = frozenset({"CR", "DX", "MR"})  # of the labelled pictures
MODALITIES = ("CR DX", "CR DX chest", "CT", "MR", "US", "XC", "ES", "SM", "MG", "XA", "NM PT", "OP")
# Files of the WG-04 samples whose Modality says radiograph or other: what they show.
_SHOWN = {"MG1": "MG", "VL1": "ES", "VL2": "ES", "VL3": "ES", "VL4": "OP", "VL5": "SM", "VL6": "SM"}
# What is no clean image of its modality, by a part of the path, and why.
ODD = {
    "txv_fake_monochrome1": "radiograph with the wrong photometric interpretation",
    "rotated": "chest radiograph turned by 90 degrees",
    "nih_test5": "chest radiograph that says CT",
    "cookies": "photograph of cookies without a modality",
    "SC1_J2KR": "scanned sheet of CT films that says CT",
    "medsiglip_encapsulated_cxr": "grey disk that says chest radiograph",
    "dcmjs_sample_op": "drawing of a fundus",
    "dbt_j2k": "random numbers that say mammogram",
    "deid_us_rgb": "probe in air, with an invented name on the screen",
    "deid_us_grey": "probe in air, with an invented name on the screen",
    "itkpocus_phantom": "echo of a phantom with scales",
    "gdcm-US-ALOKA": "echo with text of the console",
    "sm_image_numbers": "tile with drawn numbers",
    "GDCMJ2K_TextGBR": "coloured words",
    "eCT_Supplemental": "map of CT perfusion",
    "CT0012": "map of CT perfusion",
    "dx_image": "radiograph of a dog with a Deviation Index of -7",
    "VL5_J2KI": "whole slide in small, most of it glass",
    "mlut_18": "test pattern",
    "J2K_pixelrep_mismatch": "CT with a wrong sign in its code stream",
    "panimg_": "black tile",
    "693_J2KI": "CT compressed 339 to 1",
}
# What is written into clean images, all looked at: an alarm for burnt-in text is right there.
_WRITTEN = (
    "VL1_",
    "VL2_",
    "VL3_",
    "US1_",
    "examples_palette",
    "examples_rgb_color",
    "examples_ybr_color",
    "OBXXXX1A",
    "cxr_mhh/87d50e40",
    "cxr_mhh/689836b5",
    "polyps_95051273",
    "polyps_b05c07a4",
    "ulcerative-colitis-grade-2_4ba2da29",
    "ulcerative-colitis-grade-3_97cbb684",
)
_LEFT_OUT = ("mf.dcm", "dcm_qa_ts", "ExplVR_BigEnd", "siemens_xa10", "philips_fmap", "sm_image", "pm-example", "/seg", "image_dfl")
_SMALLEST_SIDE = 100
_SIDE = 24
_SAME = 0.004  # mean difference on that side: copies in another transfer syntax, sent with other compression or as a cine
_MEGAPIXELS = 64.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One image as the node reads it. `held_out`: in the half on which nothing was chosen. `odd`: why it is no clean image, else empty.

    `written`: there is text in it. `coarse`: it was made smaller, so that only brightness on a coarse scale can be judged.
    """

    name: str
    frame: Frame
    header: Dataset
    held_out: bool
    odd: str
    written: bool = False
    coarse: bool = False

    @property
    def modalities(self) -> str:
        """The row of MODALITIES that it belongs to. Frontal chests, which are all alike, have one of their own."""
        if is_frontal_chest(Sample(self.frame), self.header):
            return "CR DX chest"
        return next((group for group in MODALITIES if self.frame.modality in group.split()), "")


def shown(data: Path) -> Iterator[Shown]:
    """Each image of the data set that has pixels, once: copies in other transfer syntaxes are left out, multi-frames give two frames."""
    seen: dict[str, list[Pixels]] = {}
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for image in _of_row(data, row):
            small, others = _made_small(image.frame.pixels), seen.setdefault(image.frame.modality, [])
            new = all(float(np.abs(small - other).mean()) > _SAME for other in others)
            if new and (image.odd or (image.modalities and min(image.frame.pixels.shape[:2]) >= _SMALLEST_SIDE)):
                others.append(small)
                yield image


def _of_row(data: Path, row: dict[str, str]) -> Iterator[Shown]:
    name, path = row["path"], data / row["path"]
    odd = next((why for part, why in ODD.items() if part in name or part in row["label"]), "")
    if not odd and any(part in name for part in _LEFT_OUT):
        return
    written = any(part in name for part in _WRITTEN)
    held_out = int(hashlib.sha256((row["patient_key"] or name).encode()).hexdigest(), 16) % 2 == 1
    if row["kind"] == "image":
        header = _header_of_picture(row)
        yield Shown(
            name=name,
            frame=picture(Image.open(path), header.Modality, name, grey=_GREY),
            header=header,
            held_out=held_out,
            odd=odd,
            written=written,
        )
        return
    try:
        header = dcmread(path, stop_before_pixels=True, force=True)
        frames = int(number(header, "NumberOfFrames") or 1)
        for frame in read_frames(path, sorted({1, frames // 2 + 1}), maximum_megapixels=_MEGAPIXELS):
            modality = next((shows for part, shows in _SHOWN.items() if f"/{part}_" in name), text(header, "Modality"))
            header.Modality = modality
            yield Shown(name=name, frame=_as(frame, modality), header=header, held_out=held_out, odd=odd, written=written)
    except UndecodableError:
        return


def picture(image: Image.Image, modality: str, name: str, *, grey: frozenset[str]) -> Frame:
    """Return a frame of an 8-bit picture; of modalities in `grey`, one channel of it."""
    pixels: Pixels = np.asarray(image, dtype=np.float32) / np.float32(255)
    pixels = pixels[..., :3] if pixels.ndim == 3 else pixels
    if modality in grey and pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[..., 0])
    return Frame(
        pixels=pixels,
        values=None,
        spacing_mm=None,
        ref=ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid=name, frame_number=1),
        modality=modality,
        photometric_interpretation="MONOCHROME2" if pixels.ndim == 2 else "RGB",
        steps=(),
    )


def _header_of_picture(row: dict[str, str]) -> Dataset:
    """What a sender would write: all radiographs of the labelled images are frontal chests."""
    header = Dataset()
    header.Modality = row["modality"]
    if row["modality"] in {"CR", "DX"}:
        header.BodyPartExamined, header.ViewPosition = "CHEST", "PA"
    return header


def _as(frame: Frame, modality: str) -> Frame:
    return Frame(
        pixels=frame.pixels,
        values=frame.values,
        spacing_mm=frame.spacing_mm,
        ref=frame.ref,
        modality=modality,
        photometric_interpretation=frame.photometric_interpretation,
        steps=frame.steps,
    )


def _made_small(pixels: Pixels) -> Pixels:
    grey = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8)).convert("L")
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32) / np.float32(255)

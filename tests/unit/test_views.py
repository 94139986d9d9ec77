"""What the model is shown of each kind of image: windows, borders, regions, polarity; in words, and true to the image's coordinates."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    MRImageStorage,
    OphthalmicPhotography8BitImageStorage,
    PositronEmissionTomographyImageStorage,
    UltrasoundImageStorage,
    VLEndoscopicImageStorage,
    XRayAngiographicImageStorage,
)

from config.views import CT_WINDOWS, CtSection, MagneticResonanceSection, NuclearSection, RadiographSection, ViewsSection
from inference.frames import read_frames
from inference.pixels.windows import ct_window
from inference.reading import Reading
from inference.selection import ChosenFrames, SelectedInstance, choose_frames
from inference.views import VIEWS, SampledRanges, viewed
from tests.builders import ct_slice, image_pixel, radiograph, uid, write_file
from tests.embedded import shipped
from tests.phantoms import as_frame, chest_radiograph

DEFAULT = ViewsSection()
GREY = np.linspace(300, 3700, 64 * 64).reshape(64, 64).astype(np.uint16)


def chosen(path, header, *frame_numbers):
    return ChosenFrames(instance=SelectedInstance(path=path, header=header), frame_numbers=frame_numbers or (1,), group="")


def decoded(folder, header, frame_number=1):
    path = write_file(folder / f"{header.SOPInstanceUID}.dcm", header)
    (frame,) = read_frames(path, [frame_number], maximum_megapixels=100)
    return path, frame


def shown(folder, header, wanted=DEFAULT, frame_number=1):
    """The frame of one object as the model is shown it."""
    path, frame = decoded(folder, header, frame_number)
    return viewed(frame, header, wanted, SampledRanges([chosen(path, header, frame_number)], maximum_megapixels=100))


def item(**attributes):
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


# Radiographs


def shuttered(**attributes):
    return radiograph(pixels=GREY, **attributes)


RECTANGLE = {
    "ShutterShape": "RECTANGULAR",
    "ShutterUpperHorizontalEdge": 11,
    "ShutterLowerHorizontalEdge": 50,
    "ShutterLeftVerticalEdge": 21,
    "ShutterRightVerticalEdge": 60,
}


def test_a_rectangular_shutter_is_cropped_to_and_says_where_it_began(tmp_path):
    header = shuttered(**RECTANGLE)
    _, whole = decoded(tmp_path, header)
    view = shown(tmp_path, header)
    assert view.crop == (10, 20)  # PS3.3 C.7.6.11 counts from 1
    assert view.pixels.tolist() == whole.pixels[10:50, 20:60].tolist()
    assert view.values.tolist() == whole.values[10:50, 20:60].tolist()
    assert view.steps == ("window 2000/4000 (header)", "cropped to the Display Shutter of the header: 40 x 40 of 64 x 64")


def test_outside_a_circular_shutter_the_rest_of_the_box_is_black(tmp_path):
    view = shown(tmp_path, shuttered(ShutterShape="CIRCULAR", CenterOfCircularShutter=[32, 32], RadiusOfCircularShutter=20))
    assert view.pixels.shape == (41, 41)
    assert view.crop == (11, 11)
    assert view.pixels[0, 0] == view.pixels[-1, -1] == 0
    assert view.pixels[20, 20] > 0
    assert view.steps[1] == "black outside the Display Shutter of the header"


def test_of_several_shapes_what_lies_in_all_is_left(tmp_path):
    triangle = {"CollimatorShape": "POLYGONAL", "VerticesOfThePolygonalCollimator": [1, 1, 1, 64, 64, 1]}
    view = shown(tmp_path, shuttered(**RECTANGLE, **triangle))
    assert view.crop == (10, 20)
    assert view.pixels[0, 0] > 0
    assert view.pixels[-1, -1] == 0
    assert "the Display Shutter and the collimator of the header" in view.steps[-1]


@pytest.mark.parametrize(
    "attributes",
    [
        RECTANGLE | {"ShutterLowerHorizontalEdge": 12},
        RECTANGLE | {"ShutterLeftVerticalEdge": None},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [32, 32], "RadiusOfCircularShutter": -3},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 9, 9]},
        {"ShutterShape": "BITMAP"},
    ],
    ids=["leaves two rows", "has no left edge", "has a negative radius", "has two corners", "is of no known shape"],
)
def test_a_shutter_that_makes_no_sense_is_passed_over(tmp_path, attributes):
    header = shuttered(**{keyword: value for keyword, value in attributes.items() if value is not None})
    assert shown(tmp_path, header).pixels.shape == (64, 64)


def test_each_frame_of_an_enhanced_cine_has_its_own_shutter(tmp_path):
    header = shuttered(
        SOPClassUID=XRayAngiographicImageStorage, Modality="XA", NumberOfFrames=2, PixelData=np.stack([GREY, GREY]).tobytes()
    )
    groups = []
    for lower in (40, 50):
        rectangle = item(**RECTANGLE | {"ShutterLowerHorizontalEdge": lower})
        groups.append(item(FrameDisplayShutterSequence=Sequence([rectangle])))
    header.PerFrameFunctionalGroupsSequence = Sequence(groups)
    assert [shown(tmp_path, header, frame_number=number).pixels.shape for number in (1, 2)] == [(30, 40), (40, 40)]


def collimated(border, *, marker=False):
    """A bright body on grey air, inside blades that left everything else at `border`."""
    picture = np.full((200, 160), border, dtype=np.uint16)
    picture[30:180, 20:150] = 1200 + 10 * np.arange(130)
    if marker:
        picture[2:14, 4:12] = 2000
    return picture


@pytest.mark.parametrize("border", [4000, 0], ids=["white", "black"])
@pytest.mark.parametrize("marker", [False, True], ids=["empty", "with a side marker"])
def test_a_collimated_border_is_found_in_the_pixels_and_cropped(tmp_path, border, marker):
    view = shown(tmp_path, radiograph(pixels=collimated(border, marker=marker)))
    assert view.crop == (30, 20)
    assert view.pixels.shape == (150, 130)
    assert view.steps[-1] == "cropped to the exposed field found in the pixels: 150 x 130 of 200 x 160"


def test_air_beside_a_hand_is_no_border(tmp_path):
    row, column = np.mgrid[0:200, 0:200]
    hand = np.where((row - 100) ** 2 + (column - 100) ** 2 < 60**2, 2500, 0).astype(np.uint16)
    assert shown(tmp_path, radiograph(pixels=hand)).crop == (0, 0)


def test_a_manifest_may_keep_borders_or_believe_the_header_only(tmp_path):
    pixels = collimated(4000)
    for border in ("header", "keep"):
        wanted = ViewsSection(radiograph=RadiographSection(border=border))
        assert shown(tmp_path, radiograph(pixels=pixels), wanted).pixels.shape == pixels.shape


@pytest.mark.parametrize(("centre", "width"), [(2000, 60000), (3600, 4)], ids=["hardly any contrast", "nearly everything black"])
def test_an_absurd_window_of_the_header_gives_way_to_percentiles(tmp_path, centre, width):
    view = shown(tmp_path, radiograph(pixels=GREY, WindowCenter=centre, WindowWidth=width))
    assert view.steps[1:] == ("instead 316 to 3683, percentiles 0.5 and 99.5 (the window shows next to nothing)",)
    assert np.percentile(view.pixels, 95) - np.percentile(view.pixels, 5) > 0.85


def test_an_absurd_window_is_replaced_under_the_polarity_and_padding_of_the_header(tmp_path):
    pixels = GREY.copy()
    pixels[:8] = 65535
    header = radiograph(pixels=pixels, WindowCenter=2000, WindowWidth=60000, PhotometricInterpretation="MONOCHROME1")
    header.add_new("PixelPaddingValue", "US", 65535)
    view = shown(tmp_path, header, ViewsSection(radiograph=RadiographSection(border="keep")))
    assert (view.pixels[:8] == 0).all()
    assert view.pixels[8, 0] > 0.95
    assert view.pixels[63, 63] < 0.05


def test_a_sane_window_is_kept_and_percentiles_can_be_asked_for(tmp_path):
    assert shown(tmp_path, radiograph(pixels=GREY)).steps == ("window 2000/4000 (header)",)
    wanted = ViewsSection(radiograph=RadiographSection(window="percentiles", lowest_percent=1, highest_percent=99))
    assert shown(tmp_path, radiograph(pixels=GREY), wanted).steps[-1] == "instead 334 to 3665, percentiles 1 and 99 (asked for)"


def test_eight_bit_radiographs_without_a_window_stay_as_somebody_rendered_them(tmp_path):
    pixels = np.linspace(100, 120, 64 * 64).reshape(64, 64).astype(np.uint8)
    view = shown(tmp_path, radiograph(pixels=pixels, WindowCenter=None, WindowWidth=None))
    assert view.steps == ("8-bit values as they are (no usable window)",)


def test_frames_that_serve_as_masks_of_a_cine_are_not_shown(tmp_path):
    header = radiograph(Modality="XA", NumberOfFrames=6, SOPClassUID=XRayAngiographicImageStorage)
    header.MaskSubtractionSequence = Sequence([item(MaskOperation="AVG_SUB", MaskFrameNumbers=[1, 2])])
    cine = SelectedInstance(path=tmp_path / "xa.dcm", header=header)
    assert [choice.frame_numbers for choice in choose_frames([cine], maximum_frames=10)] == [(3, 4, 5, 6)]
    header.MaskSubtractionSequence[0].MaskFrameNumbers = [1, 2, 3, 4, 5, 6]
    assert [choice.frame_numbers for choice in choose_frames([cine], maximum_frames=10)] == [(1, 2, 3, 4, 5, 6)]


# CT


def test_ct_is_shown_through_the_window_of_its_header(tmp_path):
    _, frame = decoded(tmp_path, ct_slice())
    assert shown(tmp_path, ct_slice()).pixels.tolist() == frame.pixels.tolist()


def test_ct_without_a_window_is_decoded_through_that_of_the_body_part_already(tmp_path):
    view = shown(tmp_path, ct_slice(WindowCenter=None, WindowWidth=None))
    assert view.steps == ("rescaled to HU", "window -600/1500 (default for CT)")


@pytest.mark.parametrize(("part", "name"), [("CHEST", "lung"), ("HEAD", "brain"), ("LSPINE", "bone"), ("PELVIS", "soft-tissue")])
def test_ct_whose_window_shows_none_of_it_gets_that_of_the_body_part(tmp_path, part, name):
    view = shown(tmp_path, ct_slice(WindowCenter=9000, WindowWidth=10, BodyPartExamined=part))
    centre, width = CT_WINDOWS[name]
    assert view.steps[-1] == f"instead {name} window {centre:g}/{width:g} (no usable window)"
    assert view.pixels == pytest.approx(ct_window(name).apply(view.values))


def test_a_manifest_asks_for_one_ct_window_by_name_or_by_numbers(tmp_path):
    bone = shown(tmp_path, ct_slice(), ViewsSection(ct=CtSection(windows=("bone",))))
    assert bone.steps[-1] == "instead bone window 400/1800 (asked for)"
    own = shown(tmp_path, ct_slice(), ViewsSection(ct=CtSection.model_validate({"windows": [{"centre": -100, "width": 2250}]})))
    assert own.steps[-1] == "instead window -100/2250 (asked for)"


def test_three_ct_windows_become_red_green_and_blue_with_black_padding(tmp_path):
    pixels = GREY.copy()
    pixels[0, :5] = 0
    header = ct_slice(pixels=pixels)
    header.add_new("PixelPaddingValue", "US", 0)
    view = shown(tmp_path, header, ViewsSection(ct=CtSection(windows=("lung", "mediastinum", "brain"))))
    assert view.pixels.shape == (64, 64, 3)
    for channel, name in enumerate(("lung", "mediastinum", "brain")):
        assert view.pixels[1:, :, channel] == pytest.approx(ct_window(name).apply(view.values)[1:])
    assert (view.pixels[0, :5] == 0).all()
    assert view.steps[-1] == ("instead three windows: red lung window -600/1500, green mediastinum window 50/350, blue brain window 40/80")


def test_a_ct_picture_that_is_no_map_of_hounsfield_units_is_shown_as_it_was_decoded(tmp_path):
    header = ct_slice(pixels=GREY, RescaleSlope=None, RescaleIntercept=None, RescaleType=None)
    assert shown(tmp_path, header, ViewsSection(ct=CtSection(windows=("lung", "brain", "bone")))).pixels.ndim == 2


def test_two_ct_windows_are_refused():
    with pytest.raises(ValueError, match="one window, or three"):
        CtSection(windows=("lung", "bone"))


# MR and PET


def mr_slice(brightness, *, series, kind="M", **attributes):
    pixels = (GREY * brightness).astype(np.uint16)
    header = ct_slice(series_uid=series, pixels=pixels, Modality="MR", SOPClassUID=MRImageStorage, ImageType=["ORIGINAL", "PRIMARY", kind])
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        delattr(header, keyword)
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return header


def views_of_series(folder, headers, wanted=DEFAULT):
    files = [(write_file(folder / f"{header.SOPInstanceUID}.dcm", header), header) for header in headers]
    ranges = SampledRanges([chosen(path, header) for path, header in files], maximum_megapixels=10)
    return [viewed(next(read_frames(path, [1], maximum_megapixels=10)), header, wanted, ranges) for path, header in files]


def test_all_slices_of_an_mr_series_share_one_window(tmp_path):
    dark, bright = views_of_series(tmp_path, [mr_slice(0.2, series="1.2.3"), mr_slice(1, series="1.2.3")])
    assert dark.steps[-1] == bright.steps[-1] == "instead 67 to 3665, percentiles 0.5 and 99.5 of 2 images of the series"
    assert dark.pixels.max() < 0.25
    assert bright.pixels.max() == 1


def test_another_series_and_phase_images_in_the_same_have_windows_of_their_own(tmp_path):
    magnitude, phase, other = views_of_series(
        tmp_path, [mr_slice(1, series="1.2.3"), mr_slice(0.1, series="1.2.3", kind="P"), mr_slice(0.2, series="1.2.4")]
    )
    assert magnitude.pixels.max() == phase.pixels.max() == other.pixels.max() == 1
    assert phase.steps[-1].endswith("of this image")


def test_what_a_header_forgot_to_call_padding_takes_no_part_in_the_window_of_a_series(tmp_path):
    header = mr_slice(1, series="1.2.3")
    pixels = np.frombuffer(header.PixelData, dtype=np.uint16).reshape(64, 64).copy()
    pixels[:, :10] = 0
    (view,) = views_of_series(tmp_path, [image_pixel(header, pixels)])
    assert view.steps[-1] == "instead 322 to 3685, percentiles 0.5 and 99.5 of this image"


def test_an_mr_slice_that_cannot_be_read_spoils_no_window(tmp_path):
    good, bad = mr_slice(1, series="1.2.3"), mr_slice(1, series="1.2.3")
    files = [write_file(tmp_path / f"{number}.dcm", header) for number, header in enumerate((good, bad))]
    files[1].write_bytes(files[1].read_bytes()[:-500])
    ranges = SampledRanges([chosen(path, header) for path, header in zip(files, (good, bad), strict=True)], maximum_megapixels=10)
    view = viewed(next(read_frames(files[0], [1], maximum_megapixels=10)), good, DEFAULT, ranges)
    assert view.steps[-1].endswith("of this image")


def test_the_header_of_each_mr_image_can_be_asked_for(tmp_path):
    wanted = ViewsSection(mr=MagneticResonanceSection(window="header"))
    assert shown(tmp_path, mr_slice(1, series="1.2.3", WindowCenter=2000, WindowWidth=4000), wanted).steps == ("window 2000/4000 (header)",)


def pet_slice(**attributes):
    header = mr_slice(1, series=uid())
    header.SOPClassUID, header.Modality = PositronEmissionTomographyImageStorage, "PT"
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return header


def test_uptake_is_dark_on_white_and_never_inverted_twice(tmp_path):
    view = shown(tmp_path, pet_slice())
    assert view.steps[-1] == "inverted: uptake dark on white"
    assert view.pixels[0, 0] == 1
    assert view.pixels[-1, -1] == 0
    by_header = shown(tmp_path, pet_slice(PhotometricInterpretation="MONOCHROME1"))
    assert by_header.steps[-1] != "inverted: uptake dark on white"
    assert by_header.pixels[0, 0] == 1


def test_polarity_can_be_left_and_rendered_pictures_are(tmp_path):
    left = shown(tmp_path, pet_slice(), ViewsSection(nuclear=NuclearSection(polarity="as-decoded")))
    assert left.pixels[0, 0] == 0
    rendered = image_pixel(pet_slice(), np.arange(256, dtype=np.uint8).reshape(16, 16))
    del rendered.WindowCenter, rendered.WindowWidth
    assert shown(tmp_path, rendered).steps == ("8-bit values as they are (no usable window)",)


# Mammograms


def mammogram(*, left):
    row, column = np.mgrid[0:300, 0:200]
    breast = (row - 150) ** 2 / 120**2 + column**2 / 110**2 < 1
    picture = np.where(breast, 2600 + row, 20).astype(np.uint16)
    picture[20:40, 150:190] = 4000  # the marker
    header = radiograph(pixels=picture if left else picture[:, ::-1].copy(), Modality="MG")
    header.SOPClassUID, header.ImageLaterality = DigitalMammographyXRayImageStorageForPresentation, "L" if left else "R"
    return header


def test_a_mammogram_is_cropped_to_the_breast_and_stays_on_its_side(tmp_path):
    left, right = (shown(tmp_path, mammogram(left=side)) for side in (True, False))
    assert left.pixels.shape == right.pixels.shape
    assert left.steps[-1].startswith("cropped to the breast: ")
    assert left.crop[1] == 0
    assert right.crop[1] + right.pixels.shape[1] == 200
    assert left.pixels.tolist() == right.pixels[:, ::-1].tolist()
    assert 110 <= left.pixels.shape[1] <= 125
    assert 239 <= left.pixels.shape[0] <= 260


def test_a_magnified_breast_that_fills_the_frame_is_left_whole(tmp_path):
    header = mammogram(left=True)
    assert shown(tmp_path, image_pixel(header, (GREY // 2 + 2000).astype(np.uint16))).crop == (0, 0)


# Ultrasound


def region(left, top, right, bottom, *, spatial_format=1, data_type=1):
    made = item(RegionSpatialFormat=spatial_format, RegionDataType=data_type, RegionFlags=0)
    made.RegionLocationMinX0, made.RegionLocationMinY0, made.RegionLocationMaxX1, made.RegionLocationMaxY1 = left, top, right, bottom
    return made


def ultrasound(*regions, rows=120, columns=160):
    header = radiograph(pixels=np.full((rows, columns), 200, dtype=np.uint8), WindowCenter=None, WindowWidth=None, Modality="US")
    header.SOPClassUID = UltrasoundImageStorage
    if regions:
        header.SequenceOfUltrasoundRegions = Sequence(regions)
    return header


def test_ultrasound_is_cropped_to_its_two_dimensional_regions_and_the_rest_is_black(tmp_path):
    view = shown(
        tmp_path, ultrasound(region(10, 20, 59, 99), region(90, 20, 139, 79, data_type=2), region(0, 100, 159, 119, spatial_format=3))
    )
    assert view.crop == (20, 10)
    assert view.pixels.shape == (80, 130)
    assert (view.pixels[:, 50:80] == 0).all()
    assert (view.pixels[60:, 80:] == 0).all()
    assert (view.pixels[:, :50] > 0.7).all()
    assert view.steps[1:] == (
        "black outside the 2-D regions of the header",
        "cropped to the 2-D regions of the header: 80 x 130 of 120 x 160",
    )


@pytest.mark.parametrize(
    "regions",
    [(), (region(84, 31, 595, 414),), (region(0, 0, 159, 59, spatial_format=2),), (region(5, 5, 6, 6),), (region(50, 50, 20, 90),)],
    ids=["none", "of a larger image", "M-mode only", "tiny", "turned round"],
)
def test_ultrasound_without_regions_that_fit_stays_whole(tmp_path, regions):
    assert shown(tmp_path, ultrasound(*regions)).pixels.shape == (120, 160)


def test_a_region_that_ends_one_column_late_still_fits(tmp_path):
    assert shown(tmp_path, ultrasound(region(40, 0, 160, 120))).pixels.shape == (120, 120)


# Photographs


def photograph(pixels, *, sop_class=VLEndoscopicImageStorage, modality="ES"):
    header = radiograph(Modality=modality, WindowCenter=None, WindowWidth=None)
    header.SOPClassUID = sop_class
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
    header.Rows, header.Columns = pixels.shape[:2]
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit = 7
    header.PixelData = pixels.tobytes()
    return header


def drawn(shape, *, text=False):
    """A pink field on black, 240 x 320, as a fundus camera or an endoscope leaves it."""
    picture = Image.new("RGB", (320, 240))
    drawing = ImageDraw.Draw(picture)
    if shape == "disc":
        drawing.ellipse((110, 20, 309, 219), fill=(200, 120, 100))
    else:
        drawing.polygon([(150, 20), (270, 20), (310, 60), (310, 180), (270, 220), (150, 220), (110, 180), (110, 60)], fill=(200, 120, 100))
    if text:
        drawing.rectangle((5, 30, 60, 90), fill=(255, 255, 255))
    return np.asarray(picture)


@pytest.mark.parametrize("shape", ["disc", "octagon"])
@pytest.mark.parametrize("text", [False, True], ids=["alone", "with writing beside it"])
def test_a_field_of_view_in_a_black_border_is_cropped_to(tmp_path, shape, text):
    view = shown(tmp_path, photograph(drawn(shape, text=text)))
    assert view.steps[-1].startswith("cropped to the field of view: ")
    top, left = view.crop
    assert (top, left) == (pytest.approx(20, abs=2), pytest.approx(110, abs=2))
    assert view.pixels.shape[:2] == (pytest.approx(200, abs=3), pytest.approx(200, abs=3))


def test_a_photograph_that_fills_its_frame_stays_whole_however_dark(tmp_path):
    skin = np.full((100, 100, 3), 30, dtype=np.uint8)
    skin[40:60, 40:60] = 3
    assert shown(tmp_path, photograph(skin, modality="XC")).crop == (0, 0)


def test_a_small_bright_thing_on_black_is_no_field_of_view(tmp_path):
    picture = np.zeros((200, 200, 3), dtype=np.uint8)
    picture[90:110, 90:110] = 220
    assert shown(tmp_path, photograph(picture, modality="OP", sop_class=OphthalmicPhotography8BitImageStorage)).crop == (0, 0)


# All


@pytest.mark.parametrize("modality", sorted(VIEWS))
def test_a_picture_that_is_no_dicom_object_is_shown_as_it_is(modality):
    frame = as_frame(chest_radiograph(), uid="", modality=modality)
    picture = type(frame)(
        **{name: getattr(frame, name) for name in frame.__slots__} | {"ref": type(frame.ref)(sop_class_uid="", sop_instance_uid="")}
    )
    assert viewed(picture, Dataset(), DEFAULT, SampledRanges([], maximum_megapixels=1)) is picture


@pytest.mark.parametrize("modality", sorted(VIEWS))
def test_a_frame_with_an_empty_header_is_shown_without_a_complaint(modality):
    view = viewed(as_frame(chest_radiograph(), modality=modality), Dataset(), DEFAULT, SampledRanges([], maximum_megapixels=1))
    assert view.pixels.shape == (128, 128)


def test_the_model_is_shown_the_view_while_quality_is_judged_on_the_whole_frame(tmp_path):
    header = radiograph(pixels=collimated(4000))
    path = write_file(tmp_path / "dx.dcm", header)
    reading = Reading()
    ((view,),) = reading.frames([chosen(path, header)], models=[shipped()], check_quality=True, maximum_megapixels=10)
    assert view.pixels.shape == (150, 130)
    _, whole = decoded(tmp_path, header)
    alone = Reading()
    ((frame,),) = alone.frames([chosen(path, header)], models=[], check_quality=True, maximum_megapixels=10)
    assert frame.pixels.tolist() == whole.pixels.tolist()
    assert reading.quality == alone.quality


def test_two_models_are_each_shown_what_their_manifests_ask_for(tmp_path):
    header = ct_slice()
    path = write_file(tmp_path / "ct.dcm", header)
    three = shipped().model_copy(update={"views": ViewsSection(ct=CtSection(windows=("lung", "mediastinum", "brain"))), "colour": "colour"})
    ((own, coloured),) = Reading().frames([chosen(path, header)], models=[shipped(), three], check_quality=False, maximum_megapixels=10)
    assert (own.pixels.ndim, coloured.pixels.ndim) == (2, 3)

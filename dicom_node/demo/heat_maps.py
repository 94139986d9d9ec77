"""Where the model looked, for the page of a demo run: asked again of the files that were sent, because a node in shadow draws nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom import dcmread

from config import Catalogue
from config.schema import Settings
from dicom_node.demo.worklist import DemoRow
from inference.explanation import Explain, Picture, explain
from inference.selection import SelectedInstance


def heat_maps_of(
    rows: Sequence[DemoRow], files: Mapping[str, Sequence[Path]], *, settings: Settings, catalogue: Catalogue
) -> Mapping[str, tuple[Picture, ...]]:
    """Return the heat maps of the strongest findings of each study, by Study Instance UID; `files` are those of each study.

    Raises:
        ModelLoadError: the model of a route cannot be loaded.
    """
    from inference.engine import Engine, EngineOptions  # noqa: PLC0415 - torch takes seconds to import

    work = settings.work
    engine = Engine(catalogue, device=work.device, batch_size=work.batch_size, cache_folder=None, options=EngineOptions.of(work))
    found: dict[str, tuple[Picture, ...]] = {}
    for row in rows:
        sent = [
            SelectedInstance(path=path, header=dcmread(path, stop_before_pixels=True, force=True)) for path in files[row.study_instance_uid]
        ]
        for analysis in row.analyses:
            inputs = {image.sop_instance_uid for image in analysis.inputs}
            made = explain(
                analysis,
                selected=[instance for instance in sent if instance.image.sop_instance_uid in inputs],
                route=catalogue.route(analysis.route),
                scorer=engine,
                catalogue=catalogue,
                which=Explain.SHOWN,
                maximum_frame_megapixels=work.maximum_frame_megapixels,
            )
            found[row.study_instance_uid] = (*found.get(row.study_instance_uid, ()), *made.pictures)
    return found

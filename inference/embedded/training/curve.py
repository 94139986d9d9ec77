"""The training curve as a picture."""

import csv
from pathlib import Path

from inference.charts import Series, line_chart
from inference.embedded.training.run import CURVE_FILE

PICTURE_FILE = "training-curve.svg"

_PARTS = {"kind": "kind of image", "claims": "faults", "findings": "findings", "captions": "captions"}


def draw_curve(folder: Path) -> None:
    """Draw the losses of a training, from the table in its folder to a picture beside it.

    Raises:
        OSError: there is no table, or the picture cannot be written.
    """
    with (folder / CURVE_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    series = [Series(name=name, points=tuple((float(row["done"]), float(row[column])) for row in rows)) for column, name in _PARTS.items()]
    picture = line_chart(series, title="Mean loss of each pass", x_label="pass", y_label="loss")
    (folder / PICTURE_FILE).write_text(picture, encoding="utf-8")

"""A palette written in segments, expanded (PS3.3 C.7.9.2)."""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.generic]

_DISCRETE, _LINEAR = 0, 1
_MOST_ENTRIES = 1 << 16


def expanded(segments: Numbers) -> Numbers:
    """The entries that discrete and linear segments stand for, at most 65,536 of them; a table cannot have more.

    Raises:
        ValueError: a segment is cut off, begins with a linear one, or is of another kind. Indirect ones (C.7.9.2.3) are refused:
            implementors disagree if their offsets count bytes or entries.
    """
    numbers = [int(number) for number in segments]
    entries: list[int] = []
    at = 0
    while at < len(numbers) - 1 and len(entries) <= _MOST_ENTRIES:  # one number may be padding
        kind, length = numbers[at : at + 2]
        used = 3 if kind == _LINEAR else 2 + length
        if at + used > len(numbers):
            raise ValueError("a segment of the palette is cut off")
        if kind == _DISCRETE:
            entries += numbers[at + 2 : at + used]
        elif kind == _LINEAR and entries and length:
            entries += np.rint(np.linspace(entries[-1], numbers[at + 2], length + 1)[1:]).astype(int).tolist()
        else:
            raise ValueError("a segment of the palette is of a kind that is not supported, or stands where it cannot")
        at += used
    return np.asarray(entries[:_MOST_ENTRIES], dtype=np.uint16)

"""Makes inputs from inputs: bytes changed, cut, doubled and spliced, and PDUs of a conversation changed one by one.

Everything comes from one `random.Random`, so a seed and a count name every input that was ever tried.
"""

import random
import struct
from collections.abc import Callable, Sequence

_HEADER = struct.Struct(">BBL")
# Where lengths are compared: nothing, one, the edges of 8, 16 and 32 bits, and the undefined length.
INTERESTING = (0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, 0x100, 0x3FFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_DICOM_WORDS = (
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    b"\xfe\xff\x0d\xe0\x00\x00\x00\x00",
    b"SQ\x00\x00\xff\xff\xff\xff",
    b"UN\x00\x00\xff\xff\xff\xff",
    b"1.2.840.10008.1.2.1.99",
    b"../../../etc/passwd\x00",
    b"\x1b$B\x1b(J",
    b"\\",
    b"\x00",
)

Mutation = Callable[["Mutator", bytearray], None]


class Mutator:
    """Changes inputs; `corpus` is what pieces are taken from."""

    def __init__(self, rng: random.Random, corpus: Sequence[bytes]) -> None:
        self.rng = rng
        self.corpus = tuple(corpus)

    def changed(self) -> bytes:
        """Return a changed member of the corpus."""
        data = bytearray(self.rng.choice(self.corpus))
        for _ in range(self.rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
            self.rng.choice(_MUTATIONS)(self, data)
        return bytes(data)

    def conversation(self) -> bytes:
        """Return a changed conversation: half the time only the bodies of PDUs, with their lengths put right again, or their order."""
        if self.rng.random() < 0.4:
            return self.changed()
        pdus = split(self.rng.choice(self.corpus))
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            self._change_pdus(pdus)
        return b"".join(pdus)

    def _change_pdus(self, pdus: list[bytes]) -> None:
        at = self.rng.randrange(len(pdus)) if pdus else 0
        what = self.rng.randrange(6)
        if what == 0 and pdus:
            del pdus[at]
        elif what == 1 and pdus:
            pdus.insert(at, self.rng.choice(pdus))
        elif what == 2:
            pdus.insert(at, self.rng.choice(split(self.rng.choice(self.corpus))))
        elif what == 3:
            body = bytes(self.rng.randrange(256) for _ in range(self.rng.choice((0, 4, 4, 6, 20))))
            pdus.insert(at, _HEADER.pack(self.rng.randrange(10), 0, len(body)) + body)
        elif pdus and len(pdus[at]) > _HEADER.size:
            body_of = bytearray(pdus[at][_HEADER.size :])
            self.rng.choice(_MUTATIONS)(self, body_of)
            pdus[at] = _HEADER.pack(pdus[at][0], 0, len(body_of)) + bytes(body_of)

    def _place(self, data: bytearray) -> int:
        return self.rng.randrange(len(data)) if data else 0

    def flip(self, data: bytearray) -> None:
        if data:
            data[self._place(data)] ^= 1 << self.rng.randrange(8)

    def set_byte(self, data: bytearray) -> None:
        if data:
            data[self._place(data)] = self.rng.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF, self.rng.randrange(256)))

    def set_number(self, data: bytearray) -> None:
        size = self.rng.choice((1, 2, 4))
        value = self.rng.choice((*INTERESTING, len(data), len(data) + 1, max(0, len(data) - 1))) & ((1 << 8 * size) - 1)
        at = self._place(data)
        data[at : at + size] = value.to_bytes(size, self.rng.choice(("big", "little")))

    def cut(self, data: bytearray) -> None:
        at = self._place(data)
        del data[at : at + self.rng.choice((1, 2, 4, 8, 64, len(data)))]

    def double(self, data: bytearray) -> None:
        at = self._place(data)
        piece = data[at : at + self.rng.choice((1, 2, 8, 64, 512))]
        data[at:at] = piece * self.rng.choice((1, 1, 2, 16))

    def insert_word(self, data: bytearray) -> None:
        at = self._place(data)
        data[at:at] = self.rng.choice(_DICOM_WORDS)

    def splice(self, data: bytearray) -> None:
        other = self.rng.choice(self.corpus)
        start = self._place(bytearray(other))
        at = self._place(data)
        data[at : at + self.rng.choice((0, 8, 64, len(data)))] = other[start : start + self.rng.choice((4, 16, 64, 256, len(other)))]

    def truncate(self, data: bytearray) -> None:
        del data[self._place(data) :]


_MUTATIONS: tuple[Mutation, ...] = (
    Mutator.flip,
    Mutator.flip,
    Mutator.set_byte,
    Mutator.set_number,
    Mutator.set_number,
    Mutator.cut,
    Mutator.double,
    Mutator.insert_word,
    Mutator.splice,
    Mutator.truncate,
)


def split(conversation: bytes) -> list[bytes]:
    """Return the PDUs of a conversation; what is cut off at its end is the last one."""
    found, at = [], 0
    while at < len(conversation):
        length = int.from_bytes(conversation[at + 2 : at + 6], "big")
        found.append(conversation[at : at + 6 + length])
        at += 6 + length
    return found

"""The contrastive objective: every image against texts that are true of it and texts that are not.

A plain CLIP objective takes each other caption of a batch for false; here many captions are true of many images, so the truth of each
pair is worked out from what is known, and pairs of unknown truth are left out. The prompts of the three recipes (which kind, true or
false, finding or none) are put to every image as well, each in one random phrasing a step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inference.embedded.training.views import FALSE, TRUE, UNKNOWN
from inference.embedded.training.words import CLAIMS, FINDINGS, KINDS_OF_IMAGE, Wording, caption, claim_text

_CLAIM_IN_CAPTION = 0.7
_SMOOTHING = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Texts of one step, in the order of `encode`: a caption a kind, a pair a claim, a pair a finding, captions of some images."""

    texts: tuple[str, ...]
    captioned: int
    truth: torch.Tensor
    """int8 `(images, captioned)`: TRUE, FALSE or UNKNOWN for each pair of an image and a caption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The parts of the objective, each a scalar."""

    kind: torch.Tensor
    claims: torch.Tensor
    findings: torch.Tensor
    captions: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        return self.kind + self.claims + 0.3 * self.findings + 0.3 * self.captions


def prompts(wording: Wording, rng: np.random.Generator, *, about_a_kind: float = 0.0) -> tuple[str, ...]:
    """Return one caption for each kind, then two texts (true, false) for each claim, then for each finding.

    `about_a_kind`: the share of claims that name a kind of image ("blurred chest x-ray") instead of an image in general.
    """
    kinds = [caption(kind, wording, rng) for kind in KINDS_OF_IMAGE]
    pairs: list[str] = []
    for claim in (*CLAIMS, *FINDINGS):
        kind = KINDS_OF_IMAGE[rng.integers(len(KINDS_OF_IMAGE))] if rng.random() < about_a_kind else None
        pairs += [claim_text(claim, holds=holds, wording=wording, rng=rng, kind=kind) for holds in (True, False)]
    return (*kinds, *pairs)


def ask(kinds: NDArray[np.int64], claims: NDArray[np.int8], rng: np.random.Generator, *, captions: int) -> Questions:
    """Return the texts of one step for images of these kinds, `(n,)`, with these claims, `(n, claims)`."""
    images = rng.choice(len(kinds), size=min(captions, len(kinds)), replace=False)
    written = [_caption_of(int(kinds[image]), claims[image], rng) for image in images]
    truth = np.full((len(kinds), len(written)), FALSE, dtype=np.int8)
    for column, one in enumerate(written):
        same = kinds == one.kind
        truth[same, column] = TRUE if one.claim is None else _agreement(claims[same, one.claim], one.holds)
    return Questions(texts=(*prompts("seen", rng), *(one.text for one in written)), captioned=len(written), truth=torch.from_numpy(truth))


def losses(
    images: torch.Tensor,
    texts: torch.Tensor,
    scale: torch.Tensor,
    *,
    kinds: torch.Tensor,
    claims: torch.Tensor,
    findings: torch.Tensor,
    questions: Questions,
) -> Losses:
    """Return the losses of a batch.

    `images` `(n, d)` and `texts` `(m, d)`: unit vectors; `scale`: the factor on cosines; `kinds` int64 `(n,)`; `claims` and `findings`
    int8 `(n, k)`.
    """
    logits = scale * images @ texts.T
    by_kind, by_claim, by_finding, by_caption = torch.split(
        logits, [len(KINDS_OF_IMAGE), 2 * len(CLAIMS), 2 * len(FINDINGS), questions.captioned], dim=1
    )
    return Losses(
        kind=torch.nn.functional.cross_entropy(by_kind, kinds, label_smoothing=_SMOOTHING),
        claims=_pair_loss(by_claim, claims),
        findings=_pair_loss(by_finding, findings),
        captions=_caption_loss(by_caption, questions.truth.to(by_caption.device)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Caption:
    text: str
    kind: int
    claim: int | None
    holds: bool


def _caption_of(kind: int, claims: NDArray[np.int8], rng: np.random.Generator) -> _Caption:
    """A caption that names the kind, and mostly one claim; faults are told three times as often as their absence."""
    what = KINDS_OF_IMAGE[kind]
    weights = np.where(claims == TRUE, 3.0, np.where(claims == FALSE, 0.15, 0.0))
    if not weights.sum() or rng.random() > _CLAIM_IN_CAPTION:
        return _Caption(text=caption(what, "seen", rng), kind=kind, claim=None, holds=True)
    number = int(rng.choice(len(claims), p=weights / weights.sum()))
    holds = bool(claims[number] == TRUE)
    text = claim_text(CLAIMS[number], holds=holds, wording="seen", rng=rng, kind=what)
    return _Caption(text=text, kind=kind, claim=number, holds=holds)


def _agreement(known: NDArray[np.int8], holds: bool) -> NDArray[np.int8]:
    return np.where(known == UNKNOWN, UNKNOWN, np.where((known == TRUE) == holds, TRUE, FALSE)).astype(np.int8)


def _pair_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Pair softmax against the truth: the mean over true and over false images of a claim, then over claims."""
    difference = logits[:, 0::2] - logits[:, 1::2]
    losses = torch.nn.functional.binary_cross_entropy_with_logits(difference, (truth == TRUE).to(difference.dtype), reduction="none")
    sides = []
    for value in (TRUE, FALSE):
        mask = (truth == value).to(losses.dtype)
        count = mask.sum(dim=0)
        sides.append(((losses * mask).sum(dim=0) / count.clamp(min=1), count > 0))
    (of_true, some_true), (of_false, some_false) = sides
    weight = torch.stack([some_true, some_false]).to(losses.dtype)
    return (torch.stack([of_true, of_false]) * weight).sum() / weight.sum().clamp(min=1)


def _caption_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Softmax over captions for each image and over images for each caption, the true ones together against all that are known."""
    impossible = torch.finfo(logits.dtype).min
    known = logits.masked_fill(truth == UNKNOWN, impossible)
    true = logits.masked_fill(truth != TRUE, impossible)
    parts = []
    for dim in (1, 0):
        has_one = (truth == TRUE).any(dim=dim)
        surprise = known.logsumexp(dim=dim) - true.logsumexp(dim=dim)
        parts.append(surprise[has_one].mean())
    return (parts[0] + parts[1]) / 2

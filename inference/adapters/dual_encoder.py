"""The adapter of every family with one image tower, one text tower and one head: `DualEncoder`."""

from collections.abc import Callable, Sequence

import torch

from config.architecture import ClampedScale, FixedScale, LogitScale
from inference.adapters import Head
from inference.adapters.checkpoint import Checkpoint
from inference.preprocessing import preprocessor
from inference.tokenizers import TokenizerError, Tokens, load_tokenizer

ONLY_HEAD = "image"


class DualEncoder:
    """A `ModelAdapter` with one head. The network lies on `device` already; the two functions get tensors there."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        *,
        encode_images: Callable[[torch.Tensor], torch.Tensor],
        encode_texts: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        logit_scale_ln: torch.Tensor,
        logit_bias: float = 0.0,
    ) -> None:
        """`encode_texts` gets ids and attention mask. What both return, `(n, d)`, need not be normalised.

        Raises:
            ModelLoadError: the tokenizer's files contradict the manifest.
        """
        self.manifest = checkpoint.manifest
        self.preprocess = preprocessor(self.manifest.preprocessing)
        self.tokenize = tokenizer(checkpoint)
        self._device = torch.device(device)
        self._images, self._texts = encode_images, encode_texts
        scale = logit_factor(self.manifest.architecture.logit_scale, logit_scale_ln)
        head = Head(name=ONLY_HEAD, logit_scale=scale, logit_bias=logit_bias, views=(ONLY_HEAD,), images=_same, texts=_same)
        self.heads: tuple[Head, ...] = (head,)

    @property
    def logit_scale(self) -> float:
        """The factor on cosines."""
        return self.heads[0].logit_scale

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return L2-normalised float32 `(n, d)` on the CPU."""
        with torch.no_grad():  # torch.compile cannot follow inference_mode
            return unit(self._images(batch.to(self._device, non_blocking=True)))

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return L2-normalised float32 `(n, d)` on the CPU."""
        tokens = self.tokenize(texts)
        with torch.inference_mode():
            return unit(self._texts(tokens.ids.to(self._device), tokens.attended.to(self._device)))


def unit(features: torch.Tensor) -> torch.Tensor:
    """Return the rows at unit length, float32 on the CPU."""
    return torch.nn.functional.normalize(features.float(), dim=-1).cpu()


def logit_factor(section: LogitScale, stored_ln: torch.Tensor) -> float:
    """Return the factor on cosines from the logarithm that the weights store (one number of any shape)."""
    if isinstance(section, FixedScale):
        return section.factor
    logarithm = stored_ln.float().reshape(())
    if isinstance(section, ClampedScale):
        logarithm = logarithm.clamp(section.lowest_ln, section.highest_ln)
    return float(logarithm.exp())


def tokenizer(checkpoint: Checkpoint) -> Callable[[Sequence[str]], Tokens]:
    """Return the tokenizer of the manifest.

    Raises:
        ModelLoadError: its files contradict the manifest.
    """
    section = checkpoint.manifest.tokenizer
    if section.kind != "clip-bpe":
        checkpoint.file(section.vocabulary)
    try:
        return load_tokenizer(section, checkpoint.folder)
    except TokenizerError as exc:
        raise checkpoint.error(str(exc)) from exc


def _same(rows: torch.Tensor) -> torch.Tensor:
    return rows

"""Words exchanged for their neighbours in meaning while training, so that a word that was not trained on is not taken for noise."""

from typing import Any

import torch
from open_clip.model import CLIP
from torch import nn

_NEAREST = 6
_SHARE, _FARTHEST = 0.2, 0.6
_AT_ONCE = 1024


class Neighbours:
    """While `active`, a word vector in training is moved now and then on the way to one of its nearest neighbours.

    The table of neighbours is int64 `(vocabulary, 6)`, by the cosine between word vectors; words without a vector keep their place.
    """

    def __init__(self, model: CLIP) -> None:
        self.active = False
        self._vectors = model.token_embedding.weight.detach()
        self._nearest = _nearest(self._vectors)
        model.token_embedding.register_forward_hook(self._move)

    def _move(self, layer: nn.Module, inputs: Any, vectors: torch.Tensor) -> torch.Tensor:
        if not (self.active and layer.training):
            return vectors
        tokens: torch.Tensor = inputs[0]
        picked = torch.randint(_NEAREST, (*tokens.shape, 1), device=tokens.device)
        others = self._vectors[self._nearest[tokens].gather(-1, picked).squeeze(-1)]
        moved = torch.rand(tokens.shape, device=tokens.device) < _SHARE
        distance = torch.rand(tokens.shape, device=tokens.device) * _FARTHEST * moved
        return torch.lerp(vectors, others.to(vectors.dtype), distance.unsqueeze(-1).to(vectors.dtype))


def _nearest(vectors: torch.Tensor) -> torch.Tensor:
    unit = torch.nn.functional.normalize(vectors.float(), dim=-1)
    parts = torch.split(unit, _AT_ONCE)
    nearest = torch.cat([(part @ unit.T).topk(_NEAREST + 1, dim=-1).indices[:, 1:] for part in parts])
    own = torch.arange(len(vectors), device=vectors.device).unsqueeze(-1)
    return torch.where((vectors.norm(dim=-1, keepdim=True) > 0) & (own > 0), nearest, own)

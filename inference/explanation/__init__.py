"""Where a model looked: heat maps of its scores, regions on the image, and pictures of both.

A part of the frame is hidden, the model is asked again, and the score falls or does not (`inference.explanation.occlusion`). It says
where a score comes from. It says nothing about what is there.
"""

from inference.explanation.explaining import Explain, Illustrated, explain
from inference.explanation.picture import Picture

__all__ = ["Explain", "Illustrated", "Picture", "explain"]

"""Training of the embedded model: words, pictures with known faults, the objective, and the loop.

Only `dicom-node train-embedded` needs this package (and the extra `train`); the running node does not import it.
"""

"""This software as DICOM names implementations (PS3.7 D.3.3.2): the same in all that it receives, makes and sends."""

# The root of a UUID-derived UID is 2.25 (PS3.5 B.2). This one was drawn once, for this software: 8be680d4-3bef-4a10-a781-0559c8d7699a.
IMPLEMENTATION_CLASS_UID = "2.25.185959532654914935738729857934295525786"
IMPLEMENTATION_VERSION_NAME = "DICOM-NODE_0.1"

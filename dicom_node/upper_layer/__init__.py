"""The acceptor's side of the DICOM Upper Layer (PS3.8 section 9) and the two DIMSE services of the receiver. No sockets in here, but
in `listener`.

Read `machine` first: it is the table of the Standard. `acceptor` runs it over bytes, `messages` makes DIMSE messages of what comes,
`listener` joins it to sockets.
"""

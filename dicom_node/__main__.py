"""`python -m dicom_node` is `dicom-node`."""

from dicom_node.commands import main

main()

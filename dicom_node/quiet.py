"""Keeping libraries from writing beside our events: their warnings and logs quote what a peer sent."""

import logging
import warnings

import pydicom.config
from pynetdicom import _config


def keep_libraries_silent() -> None:
    """Let pydicom, pynetdicom, highdicom and APScheduler write nothing, for the whole process.

    pynetdicom would also format a record for each PDU; pydicom's value checks would only warn.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    for name in ("pydicom", "pynetdicom", "highdicom", "apscheduler"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)(\.|$)")

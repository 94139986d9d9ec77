"""Keeping libraries from writing beside our events: their warnings and logs quote what a peer sent."""

import logging
import sys
import warnings


def keep_libraries_silent() -> None:
    """Let pydicom, pynetdicom, highdicom and APScheduler write nothing, for the whole process.

    pydicom's value checks would only warn. What pynetdicom formats before it logs is turned off in `entity`.
    """
    if "pydicom" in sys.modules:  # a receiver does without
        import pydicom.config  # noqa: PLC0415

        pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    for name in ("pydicom", "pynetdicom", "highdicom", "apscheduler"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)(\.|$)")

"""Options of the onnxruntime sessions in which files are checked, timed and run."""

import onnxruntime

FATAL, ERRORS = 4, 3
"""Least severity of messages that onnxruntime prints."""


def session_options(*, severity: int) -> onnxruntime.SessionOptions:
    """Return options by which int8 files compute the same on every x86 processor.

    Without them, processors that lack VNNI instructions saturate sums of two products of 8-bit numbers, and outputs can
    be wrong by a quarter of the largest one. Other processors ignore the option.

    Args:
        severity: Least severity of the messages that are printed.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = severity
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options

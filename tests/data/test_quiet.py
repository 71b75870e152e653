import logging
import sys

import pytest

from slimprune.data.quiet import quiet


def test_nothing_is_printed_or_logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    with quiet():
        sys.stdout.write("to stdout")
        sys.stderr.write("to stderr")
        logging.getLogger("other").critical("to the log")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_all_is_as_before_after_an_exception(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    with pytest.raises(KeyError), quiet():
        raise KeyError("passes")
    sys.stdout.write("heard")
    logging.getLogger("other").error("logged")
    assert capfd.readouterr().out == "heard"
    assert [record.message for record in caplog.records] == ["logged"]

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
IMPORTING = """
import os, signal, sys
from slimprune.cli import signals
signals.watch()
try:
    if {running}:
        signals.begin()
        try:
            os.kill(os.getpid(), signal.{name})
        except KeyboardInterrupt as stop:
            print(stop.exit_code, flush=True)
    os.kill(os.getpid(), signal.{name})
    print("goes on")
finally:
    print("unwound")
"""


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_during_imports_or_a_second_one_is_one_line(name: str, code: int, running: bool) -> None:
    script = IMPORTING.format(name=name, running=running)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (code, "error: interrupted\n")
    assert found.stdout == (f"{code}\n" if running else "")


def test_a_signal_that_the_caller_ignores_stays_ignored() -> None:
    script = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from slimprune.cli import signals; signals.watch(); os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "goes on\n", "")


def test_the_handler_is_there_before_the_heavy_imports() -> None:
    script = (
        "import sys; from slimprune.cli import main\n"
        "print([name for name in ('typer', 'pydantic', 'torch') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "[]\n"


def test_the_package_itself_handles_no_signals() -> None:
    script = "import signal, slimprune; slimprune.compress; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "True\n"

"""Reading files that somebody else wrote: regular ones only, and only up to a size."""

import errno
import os
import stat
from pathlib import Path


def read_bounded(file: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes; a pipe or a device could hang or never end.

    Raises:
        OSError: If the file cannot be read, is not a regular one or is larger.
    """
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        what = os.strerror(kind) if kind == errno.EISDIR else "Not a regular file"
        raise OSError(kind, what, str(file))
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"Larger than {most:,} bytes", str(file))
    return file.read_bytes()

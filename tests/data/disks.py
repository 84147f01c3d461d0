"""Disks that are full."""

import contextlib
import resource


@contextlib.contextmanager
def room(most):
    """Let no file grow beyond so many bytes, which to it is a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

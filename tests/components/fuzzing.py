"""Many cases, each within bounds of memory and time; all that fail are told at once."""

import os
import resource
import signal
import traceback
from contextlib import contextmanager

MEMORY = 2 << 30  # bytes
SECONDS = 300  # of a case on a busy machine; alone it takes milliseconds, a whole import a second


class TooSlow(BaseException):
    """Not an Exception, so that nothing takes it for a broken file."""


@contextmanager
def bounds():
    """A limit of memory beyond what the process has now, and of time."""

    def ring(*_):
        raise TooSlow

    with open("/proc/self/statm") as file:
        have = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (have + MEMORY, limits[1]))
    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def check_each(cases, check):
    """`check` each case; fails with the numbers of those that raise, and the ends of the first three tracebacks."""
    faults = []
    for case in cases:
        try:
            with bounds():
                check(case)
        except (Exception, TooSlow) as error:
            faults.append((case, error))
    lines = [f"{len(faults)} cases: {[case for case, _ in faults][:20]}"]
    for case, error in faults[:3]:
        lines += [f"case {case}:", *traceback.format_exception(error)[-6:]]
    assert not faults, "\n".join(lines)


def check_words(text):
    """A message can be printed on one line, and is none of Python's."""
    assert text.strip() and text.isprintable() and len(text) <= 1000, text[:2000]
    assert "Traceback" not in text and "MemoryError" not in text

"""A terminal without a screen: what a command shows there, as an emulator (pyte) has it."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from tests import tiny

COLUMNS, LINES = 80, 24


class Shown:
    """What a process shows on a terminal.

    Attributes:
        status: of the process.
        lines: all that stands there at the end, from the top of what was scrolled away.
        seen: every state of the screen, as texts, after each piece of output.
        cursor: whether the cursor is there at the end.
    """

    def __init__(self, code, *arguments, columns=COLUMNS, **environment):
        pyte = pytest.importorskip("pyte")
        screen = pyte.HistoryScreen(columns, LINES, history=10_000)
        stream = pyte.ByteStream(screen)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        known = tiny.environ(**{"TERM": "xterm-256color", **environment})
        for name in ("COLUMNS", "LINES", "TF_CPP_MIN_LOG_LEVEL"):  # as a user's shell has it
            known.pop(name, None)
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)], cwd=tiny.ROOT,
            env=known, stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        self.seen = []
        while piece := _read(ours):
            stream.feed(piece)
            self.seen.append("\n".join(line.rstrip() for line in screen.display).strip())
        os.close(ours)
        self.status, self.cursor = process.wait(), not screen.cursor.hidden
        gone = ["".join(line[at].data for at in range(columns)) for line in screen.history.top]
        self.lines = [line.rstrip() for line in (*gone, *screen.display)]
        while self.lines and not self.lines[-1]:
            self.lines.pop()


def _read(terminal):
    try:
        return os.read(terminal, 2**16)
    except OSError:  # Linux: the process has ended
        return b""

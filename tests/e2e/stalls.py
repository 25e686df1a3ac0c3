# SPDX-License-Identifier: Apache-2.0
"""Reading and writing by 1 MiB calls, while something happens to a server: the longest call, and the content."""
import hashlib
import os
import time

CALL = 1 << 20


class Pattern:
    """Content that no block repeats and no codec shrinks, made faster than it can be written."""

    def __init__(self, seed):
        import random

        self.noise, self.seed = random.Random(seed).randbytes(CALL + 4096), seed

    def piece(self, index):
        """Piece `index`: noise, turned, with a mark in each 16 KiB."""
        turn = (index * 37) % 4096
        data = bytearray(self.noise[turn:turn + CALL])
        for at in range(0, CALL, 16384):
            data[at:at + 16] = hashlib.md5(f"{self.seed} {index} {at}".encode()).digest()
        return bytes(data)


class Calls:
    """Durations of calls."""

    def __init__(self):
        self.longest, self.longest_at, self.end = 0.0, 0, 0.0

    def timed(self, index, call, *args):
        began = time.monotonic()
        result = call(*args)
        took = time.monotonic() - began
        if took > self.longest:
            self.longest, self.longest_at = took, index
        return result


def write(path, pattern, count, happens=None):
    """Write `count` pieces; happens() a quarter in. Times of write(); .end is that of fsync and close."""
    calls = Calls()
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    try:
        for i in range(count):
            if happens and i == count // 4:
                happens()
            assert calls.timed(i, os.write, fd, pattern.piece(i)) == CALL
        began = time.monotonic()
        os.fsync(fd)
    finally:
        os.close(fd)
    calls.end = time.monotonic() - began
    return calls


def read(path, pattern, count, happens=None):
    """Read all of it, compare; happens() a quarter in. Times of read()."""
    calls = Calls()
    fd = os.open(path, os.O_RDONLY)
    try:
        for i in range(count):
            if happens and i == count // 4:
                happens()
            data = calls.timed(i, os.read, fd, CALL)
            assert data == pattern.piece(i), f"piece {i} of {path} is wrong ({len(data)} bytes)"
        assert os.read(fd, 1) == b""
    finally:
        os.close(fd)
    return calls

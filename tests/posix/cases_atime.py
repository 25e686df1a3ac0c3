# SPDX-License-Identifier: Apache-2.0
"""Which call moves atime (POSIX: "shall mark for update"), as relatime has it: mount(8)."""
import os

from cases_times import FOLDER, IT, OLD_NS, OTHER, RD, age, on_descriptor, rows_of, times, with_file, with_link, with_two
from suite import check, equal, eventually, read_file, table, tick, true, write_file


def copy_range(d):
    out = os.open(d / "second/other", os.O_WRONLY)
    os.copy_file_range(os.open(d / "folder/it", os.O_RDONLY), out, 7)
    os.close(out)


READS = (
    ("read(2)", with_file, on_descriptor(RD, lambda fd: os.read(fd, 3)), {IT: "a", FOLDER: ""}),
    ("pread(2)", with_file, on_descriptor(RD, lambda fd: os.pread(fd, 3, 1)), {IT: "a"}),
    ("copy_file_range(2)", with_two, copy_range, {IT: "a", OTHER: "mc"}),
    ("readlink(2)", with_link, lambda d: os.readlink(d / IT), {IT: "a", FOLDER: ""}),
    ("readdir(3)", with_file, lambda d: os.listdir(d / FOLDER), {FOLDER: "a", IT: ""}),
)


@table
def what_moves_atime():
    return rows_of(READS)


@check("atime, relatime: a second read moves it no more")
def _(d):
    write_file(d / "it", b"content")
    age(d / "it")
    tick()
    read_file(d / "it")
    first = times(d / "it")[0]
    tick()
    read_file(d / "it")
    equal(times(d / "it")[0], first)


@check("atime, relatime: a read after a write moves it again")
def _(d):
    write_file(d / "it", b"content")
    read_file(d / "it")
    tick()
    write_file(d / "it", b"changed")
    tick()
    read_file(d / "it")
    st = os.stat(d / "it")
    true(st.st_atime_ns > st.st_mtime_ns, "atime stayed behind mtime")


@check("atime: a read on one node is soon seen on the other")
def _(a, b):
    write_file(a / "it", b"content")
    age(a / "it")
    read_file(a / "it")
    eventually(lambda: times(b / "it")[0] > OLD_NS + 5, "atime moves")

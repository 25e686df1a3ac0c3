# SPDX-License-Identifier: Apache-2.0
"""One of each type of file, as a table for the cases."""
import os
import socket
import stat

import suite

NULL, LOOP = os.makedev(1, 3), os.makedev(7, 4000)


def symlink(path):
    """To a file of its own, beside it."""
    suite.write_file(path + ".target", b"content")
    os.symlink(os.path.basename(path) + ".target", path)


def make_socket(path):
    fd = os.open(os.path.dirname(path), os.O_PATH)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"/proc/self/fd/{fd}/{os.path.basename(path)}")
    os.close(fd)
    os.chmod(path, 0o644)


def device(kind, number):
    def make(path):
        if os.getuid() != 0:
            raise suite.Skip("needs root, to make device files")
        os.mknod(path, kind | 0o644, number)
    return make


# type: (how to make one, S_IFMT, d_type)
TYPES = {
    "a file": (lambda path: suite.write_file(path, b"content"), stat.S_IFREG, 8),
    "a folder": (os.mkdir, stat.S_IFDIR, 4),
    "a FIFO": (os.mkfifo, stat.S_IFIFO, 1),
    "a socket": (make_socket, stat.S_IFSOCK, 12),
    "a character device": (device(stat.S_IFCHR, NULL), stat.S_IFCHR, 2),
    "a block device": (device(stat.S_IFBLK, LOOP), stat.S_IFBLK, 6),
    "a symbolic link": (symlink, stat.S_IFLNK, 10),
}


def make(kind, path):
    TYPES[kind][0](path)
    return suite.Folder(path)


def type_of(path):
    mode = stat.S_IFMT(os.lstat(path).st_mode)
    return next(kind for kind, (_, fmt, _) in TYPES.items() if fmt == mode)

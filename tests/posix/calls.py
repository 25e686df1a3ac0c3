# SPDX-License-Identifier: Apache-2.0
"""Every call that takes a path, as one table that several cases combine with places, types and callers."""
import collections
import errno
import os
import socket

import suite
import syscalls as sys_

# needs: what the path must name: "file", "folder", "link" (a symbolic link), or "nothing".
# follows: a symbolic link at its end is followed.
# call(path, d): d is the check's folder, for the second name of calls that take two.
Call = collections.namedtuple("Call", "name needs follows call")


def make_for(needs, path):
    """What a call needs to find at a path."""
    if needs == "file":
        suite.write_file(path, b"content")
    elif needs == "folder":
        os.mkdir(path)
    elif needs == "link":
        os.symlink("somewhere", path)


def bind(path, _d):
    sock = socket.socket(socket.AF_UNIX)
    with sock:
        if len(path) > 100:         # an address holds 107 bytes: go there by a descriptor
            folder, name = os.path.split(path)
            folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
            path = f"/proc/self/fd/{folder_fd}/{name}"
        sock.bind(path)


def watch(path, _d):
    fd = sys_.libc.inotify_init1(os.O_CLOEXEC)
    try:
        sys_.inotify_add_watch(fd, os.fsencode(path), 2)
    finally:
        os.close(fd)


def open_with(flags):
    def call(path, _d):
        os.close(os.open(path, flags, 0o644))
    return call


def other(d):
    """A file beside the one that is asked for."""
    if not suite.exists(d / "other"):
        suite.write_file(d / "other", b"other")
    return d / "other"


def remove_xattr(path, follow):
    os.setxattr(path, "user.gone", b"v", follow_symlinks=follow)
    os.removexattr(path, "user.gone", follow_symlinks=follow)


def get_xattr(path):
    """ENODATA has found the file as well."""
    code = suite.outcome(os.getxattr, path, "user.a")
    if code not in (0, errno.ENODATA):
        raise OSError(code, os.strerror(code), path)


CALLS = [Call(*row) for row in (
    ("open(2) O_RDONLY", "file", True, open_with(os.O_RDONLY)),
    ("open(2) O_WRONLY", "file", True, open_with(os.O_WRONLY)),
    ("open(2) O_TRUNC", "file", True, open_with(os.O_RDWR | os.O_TRUNC)),
    ("open(2) O_PATH", "file", True, open_with(os.O_PATH)),
    ("open(2) O_DIRECTORY", "folder", True, open_with(os.O_RDONLY | os.O_DIRECTORY)),
    ("open(2) O_CREAT|O_EXCL", "nothing", False, open_with(os.O_WRONLY | os.O_CREAT | os.O_EXCL)),
    ("openat2(2)", "file", True, lambda p, d: os.close(sys_.openat2(p))),
    ("stat(2)", "file", True, lambda p, d: os.stat(p)),
    ("lstat(2)", "file", False, lambda p, d: os.lstat(p)),
    ("statx(2)", "file", True, lambda p, d: sys_.statx(p)),
    ("statfs(2)", "file", True, lambda p, d: os.statvfs(p)),
    ("access(2) F_OK", "file", True, lambda p, d: sys_.faccessat(p, os.F_OK)),
    ("access(2) R_OK", "file", True, lambda p, d: sys_.faccessat(p, os.R_OK)),
    ("chmod(2)", "file", True, lambda p, d: os.chmod(p, 0o600)),
    ("chown(2)", "file", True, lambda p, d: os.chown(p, -1, -1)),
    ("lchown(2)", "file", False, lambda p, d: os.lchown(p, 0, 0)),
    ("truncate(2)", "file", True, lambda p, d: os.truncate(p, 1)),
    ("utimensat(2)", "file", True, lambda p, d: sys_.utimensat(p, (1, 1), (2, 2))),
    ("utimensat(2) AT_SYMLINK_NOFOLLOW", "file", False,
     lambda p, d: sys_.utimensat(p, (1, 1), (2, 2), sys_.AT_SYMLINK_NOFOLLOW)),
    ("unlink(2)", "file", False, lambda p, d: os.unlink(p)),
    ("rmdir(2)", "folder", False, lambda p, d: os.rmdir(p)),
    ("mkdir(2)", "nothing", False, lambda p, d: os.mkdir(p)),
    ("mknod(2) S_IFIFO", "nothing", False, lambda p, d: os.mkfifo(p)),
    ("mknod(2) S_IFREG", "nothing", False, lambda p, d: os.mknod(p)),
    ("symlink(2)", "nothing", False, lambda p, d: os.symlink("target", p)),
    ("readlink(2)", "link", False, lambda p, d: os.readlink(p)),
    ("link(2) existing name", "file", False, lambda p, d: os.link(p, d / "other-name", follow_symlinks=False)),
    ("link(2) new name", "nothing", False, lambda p, d: os.link(other(d), p)),
    ("rename(2) old name", "file", False, lambda p, d: os.rename(p, d / "other-name")),
    ("rename(2) new name", "nothing", False, lambda p, d: os.rename(other(d), p)),
    ("renameat2(2) RENAME_NOREPLACE new name", "nothing", False,
     lambda p, d: sys_.renameat2(other(d), p, sys_.RENAME_NOREPLACE)),
    ("renameat2(2) RENAME_EXCHANGE", "file", False, lambda p, d: sys_.renameat2(other(d), p, sys_.RENAME_EXCHANGE)),
    ("chdir(2)", "folder", True, lambda p, d: os.chdir(p)),
    ("opendir(3)", "folder", True, lambda p, d: os.listdir(p)),
    ("bind(2)", "nothing", False, bind),
    ("inotify_add_watch(2)", "file", True, watch),
    ("name_to_handle_at(2)", "file", False, lambda p, d: sys_.name_to_handle(p)),
    ("setxattr(2)", "file", True, lambda p, d: os.setxattr(p, "user.a", b"v")),
    ("getxattr(2)", "file", True, lambda p, d: get_xattr(p)),
    ("listxattr(2)", "file", True, lambda p, d: os.listxattr(p)),
    ("llistxattr(2)", "file", False, lambda p, d: os.listxattr(p, follow_symlinks=False)),
    ("removexattr(2)", "file", True, lambda p, d: remove_xattr(p, True)),
)]

# SPDX-License-Identifier: Apache-2.0
"""Calls of Linux that Python's os module lacks, or makes prettier than they are. All raise OSError."""
import ctypes
import errno
import os
import struct
from collections import namedtuple

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EACCESS, AT_REMOVEDIR = -100, 0x100, 0x200, 0x200
AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = 0x400, 0x1000
AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC = 0x2000, 0x4000
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP, FALLOC_PUNCH, FALLOC_COLLAPSE, FALLOC_ZERO, FALLOC_INSERT = 1, 2, 8, 16, 32
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
STATX_BASIC, STATX_BTIME = 0x7ff, 0x800
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16
OPENAT2 = 437                   # one number on every machine
_long, _int, _ptr, _str, _u32 = ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint
_off = ctypes.c_int64


def _call(name, *types):
    function = getattr(libc, name)
    function.argtypes, function.restype = types, _long if name == "syscall" else _int

    def call(*args):
        result = function(*args)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result
    return call


_renameat2 = _call("renameat2", _int, _str, _int, _str, _u32)
_fallocate = _call("fallocate", _int, _int, _off, _off)
_utimensat = _call("utimensat", _int, _str, _ptr, _int)
_linkat = _call("linkat", _int, _str, _int, _str, _int)
_statx = _call("statx", _int, _str, _int, _u32, _ptr)
_handle_at = _call("name_to_handle_at", _int, _str, _ptr, _ptr, _int)
_open_handle = _call("open_by_handle_at", _int, _ptr, _int)
_futimens = _call("futimens", _int, _ptr)
_syscall = _call("syscall", _long, _long, _str, _ptr, _long)
_sync_range = _call("sync_file_range", _int, _off, _off, _u32)
_readlink = _call("readlink", _str, _ptr, ctypes.c_size_t)
_getxattr = _call("getxattr", _str, _str, _ptr, ctypes.c_size_t)
_listxattr = _call("listxattr", _str, _ptr, ctypes.c_size_t)
_faccessat = _call("faccessat", _int, _str, _int, _int)
_unlinkat = _call("unlinkat", _int, _str, _int)
syncfs = _call("syncfs", _int)
readahead = _call("readahead", _int, _off, ctypes.c_size_t)
fchmodat = _call("fchmodat", _int, _str, _u32, _int)
inotify_add_watch = _call("inotify_add_watch", _int, _str, _u32)


def renameat2(old, new, flags=0, old_fd=AT_FDCWD, new_fd=AT_FDCWD):
    _renameat2(old_fd, os.fsencode(old), new_fd, os.fsencode(new), flags)


def fallocate(fd, mode, offset, length):
    _fallocate(fd, mode, offset, length)


def utimensat(path, atime, mtime, flags=0, fd=AT_FDCWD):
    """Times are (seconds, nanoseconds)."""
    _utimensat(fd, os.fsencode(path), ctypes.c_char_p(struct.pack("=qqqq", *atime, *mtime)), flags)


def futimens(fd, atime, mtime):
    _futimens(fd, ctypes.c_char_p(struct.pack("=qqqq", *atime, *mtime)))


def utimensat_null(path):
    """Both times are now, as utime(path, NULL)."""
    _utimensat(AT_FDCWD, os.fsencode(path), None, 0)


def linkat(old, new, flags=0, old_fd=AT_FDCWD, new_fd=AT_FDCWD):
    _linkat(old_fd, os.fsencode(old), new_fd, os.fsencode(new), flags)


def faccessat(path, mode, flags=0, fd=AT_FDCWD):
    _faccessat(fd, os.fsencode(path), mode, flags)


def unlinkat(fd, path, flags=0):
    _unlinkat(fd, os.fsencode(path), flags)


Statx = namedtuple("Statx", "mask blksize attributes nlink uid gid mode ino size blocks attributes_mask atime btime "
                            "ctime mtime rdev dev mnt_id")


def statx(path, flags=0, mask=STATX_BASIC | STATX_BTIME, fd=AT_FDCWD):
    buf = ctypes.create_string_buffer(256)
    _statx(fd, os.fsencode(path), flags, mask, buf)
    head = struct.unpack_from("=IIQIIIHxxQQQQ", buf, 0)
    times = [struct.unpack_from("=qI", buf, 64 + 16 * i) for i in range(4)]
    dev = struct.unpack_from("=IIII", buf, 128)
    return Statx(*head, *times, dev[:2], dev[2:], struct.unpack_from("=Q", buf, 144)[0])


def name_to_handle(path, flags=0, fd=AT_FDCWD, room=128):
    """(type, bytes) of the file's handle."""
    buf = ctypes.create_string_buffer(struct.pack("=Ii", room, 0), 8 + 128)
    _handle_at(fd, os.fsencode(path), buf, ctypes.byref(_int()), flags)
    length, kind = struct.unpack_from("=Ii", buf.raw)
    return kind, buf.raw[8:8 + length]


def open_by_handle(mount_fd, handle, flags=os.O_RDONLY):
    kind, data = handle
    packed = ctypes.c_char_p(struct.pack("=Ii", len(data), kind) + data)
    for left in range(100, -1, -1):
        try:
            return _open_handle(mount_fd, packed, flags)
        except OSError as e:        # the number of the inode is being given to a new file: iget_locked() in Linux
            if e.errno != errno.ENOMEM or not left:
                raise


def openat2(path, flags=0, mode=0, resolve=0, fd=AT_FDCWD):
    how = struct.pack("=QQQ", flags, mode, resolve)
    for left in range(100, -1, -1):
        try:
            return _syscall(OPENAT2, fd, os.fsencode(path), ctypes.c_char_p(how), len(how))
        except BlockingIOError:     # something was renamed anywhere meanwhile: the caller may repeat it
            if not left:
                raise


class _Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_uint16),
                ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]


for _name, _types, _result in (("fdopendir", (_int,), _ptr), ("readdir", (_ptr,), ctypes.POINTER(_Dirent)),
                               ("telldir", (_ptr,), _long), ("seekdir", (_ptr, _long), None),
                               ("rewinddir", (_ptr,), None), ("closedir", (_ptr,), _int)):
    getattr(libc, _name).argtypes, getattr(libc, _name).restype = _types, _result


class Dir:
    """opendir(3) and its family, dots included. Each entry is (name, inode, type)."""

    def __init__(self, path):
        self.stream = libc.fdopendir(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def read(self):
        ctypes.set_errno(0)
        entry = libc.readdir(self.stream)
        if not entry:
            if ctypes.get_errno():
                raise OSError(ctypes.get_errno(), "readdir")
            return None
        return os.fsdecode(entry.contents.name), entry.contents.ino, entry.contents.type

    def tell(self):
        return libc.telldir(self.stream)

    def seek(self, place):
        libc.seekdir(self.stream, place)

    def rewind(self):
        libc.rewinddir(self.stream)

    def close(self):
        libc.closedir(self.stream)

    def rest(self):
        return list(iter(self.read, None))


def entries(path):
    """{name: (inode, type)}"""
    stream = Dir(path)
    try:
        return {name: (ino, kind) for name, ino, kind in stream.rest()}
    finally:
        stream.close()


def sync_file_range(fd, offset, length, flags=7):
    _sync_range(fd, offset, length, flags)


def readlink(path, room):
    """As many bytes as there is room for."""
    buf = ctypes.create_string_buffer(max(room, 1))
    length = _readlink(os.fsencode(path), buf, room)
    return buf.raw[:length]


def getxattr_room(path, name, room):
    """The length that getxattr(2) tells for a buffer of that size."""
    buf = ctypes.create_string_buffer(max(room, 1))
    return _getxattr(os.fsencode(path), os.fsencode(name), buf, room)


def listxattr_room(path, room):
    buf = ctypes.create_string_buffer(max(room, 1))
    return _listxattr(os.fsencode(path), buf, room)


libc.mmap.argtypes, libc.mmap.restype = (_ptr, ctypes.c_size_t, _int, _int, _int, _off), _ptr


def map_anything(fd, length, offset):
    """mmap(2) for reading, without what Python checks before."""
    if libc.mmap(None, length, 1, 1, fd, offset) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-ahead of a FUSE mount: 128 KiB whatever INIT negotiates, unless raised through the bdi of
 * the mount.
 */
#ifndef CAIRN_CLIENT_FUSE_READ_AHEAD_H
#define CAIRN_CLIENT_FUSE_READ_AHEAD_H

#include "fs/base/base.h"

/*
 * Set the read-ahead of what is mounted on `mountpoint` (absolute, as mountinfo shows it), for
 * files opened from now on. Asks /proc and /sys only, never the mount itself. -E_NOENT: not
 * mounted; or what /sys says.
 */
must_check int read_ahead_raise(const char *mountpoint, uint32_t kb);

#endif

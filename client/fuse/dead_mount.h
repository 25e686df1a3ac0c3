/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount whose process died is still there: whatever touches it is told ENOTCONN, and a new mount
 * would only cover it.
 */
#ifndef CAIRN_CLIENT_FUSE_DEAD_MOUNT_H
#define CAIRN_CLIENT_FUSE_DEAD_MOUNT_H

#include "fs/base/base.h"
#include "fs/base/error.h"

/* The path of a mount point as realpath(3) tells it, also of a dead mount. -E_... of errno. */
must_check int dead_mount_realpath(const char *path, char out[static 4096]);
/*
 * Detach dead mounts of cairn at this path, which is as dead_mount_realpath() tells it. One that
 * lives is asked, and answers as long as its cluster does.
 */
void dead_mount_detach(const char *path);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts of cairn on this machine: for who mounts, and for who starts and stops mounts.
 *
 * Threads: any.
 */
#ifndef CAIRN_FS_IO_MOUNTS_H
#define CAIRN_FS_IO_MOUNTS_H

#include "fs/base/base.h"

#define MOUNT_SOURCE_BYTES 128u	/* HOST:PORT:/ */

/*
 * Is the newest mount at `path`, which is as realpath(3) tells it, one of cairn? Then also its
 * source, cut to MOUNT_SOURCE_BYTES - 1; `source` may be NULL. From the table of mounts: asking the
 * mount itself could block.
 */
must_check bool mounts_has_cairn(const char *path, char source[MOUNT_SOURCE_BYTES]);
/*
 * Has the process of the mount at `path` died? It is asked, and one that lives answers only as long
 * as its cluster does.
 */
must_check bool mounts_is_dead(const char *path);

#endif

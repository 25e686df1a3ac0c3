/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of a mount that is there already.
 */
#ifndef CAIRN_CLIENT_FUSE_REMOUNT_H
#define CAIRN_CLIENT_FUSE_REMOUNT_H

#include "client/fuse/mount_options.h"

/* 0; -E_IO: the system refused, and why was printed. */
must_check int remount(const struct mount_options *o);

#endif

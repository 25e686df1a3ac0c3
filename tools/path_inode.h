/* SPDX-License-Identifier: Apache-2.0 */
/* The inode that a path of a local mount names: for commands that ask about it by number. */
#ifndef CAIRN_TOOLS_PATH_INODE_H
#define CAIRN_TOOLS_PATH_INODE_H

#include "fs/base/base.h"

/* A symbolic link is itself. -E_NOTCONN: it is not on a mount of cairn. */
must_check int path_inode(const char *path, inode_no *out, struct error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_TOOLS_REMOVE_TREE_H
#define CAIRN_TOOLS_REMOVE_TREE_H

#include "fs/base/base.h"

/* Remove a folder of ours with all in it; never crosses into another file system. */
must_check int remove_tree(const char *path, struct error *err);

#endif

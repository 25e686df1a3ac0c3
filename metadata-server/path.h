/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of directories, for people: rows lead from names to inodes only, so each directory is
 * looked for among the entries of its parent, as far as a bound allows.
 *
 * Pure: reads rows through the overlay. One thread.
 */
#ifndef CAIRN_METADATA_SERVER_PATH_H
#define CAIRN_METADATA_SERVER_PATH_H

#include "metadata-server/dir.h"

#define MS_PATH_BYTES 1024u

/*
 * The path from the root, "" for the root itself; ".../" in front where it could not be found
 * further up. *left entries are looked at, at most, and counted down.
 */
void ms_path_of_dir(struct ms_txn *txn, inode_no dir, uint32_t *left, char out[MS_PATH_BYTES]);

#endif

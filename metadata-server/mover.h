/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mover: puts inline content that is larger than INLINE_KEEP_BYTES_MAX into blocks, in the
 * background. A file arrives inline because that is one message; but inline bytes burden journal,
 * snapshots and rows.
 *
 * Reads the published bytes, puts and syncs the block (I2), then tells step (MS_EV_MOVED), which
 * takes the root only if the inode is still at that version (I13). The queue is bounded: what does
 * not fit is forgotten, since step says it again. One block at a time and a pause after each, for
 * it is never urgent. Loop's thread.
 */
#ifndef CAIRN_METADATA_SERVER_MOVER_H
#define CAIRN_METADATA_SERVER_MOVER_H

#include "fs/base/base.h"

struct ms_server;
struct ms_mover;

must_check int ms_mover_create(struct ms_server *s, struct ms_mover **out);
void ms_mover_destroy(struct ms_mover *m);	/* NULL is allowed */
void ms_mover_add(struct ms_mover *m, inode_no ino, uint64_t version);
void ms_mover_map_changed(struct ms_mover *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to fsck_mend*.c: a state that is being mended.
 *
 * Changes go into `txn`, an overlay over the scratch copy of the state that a round (fsck_mend.c)
 * flushes at its end. The facts of `f` are those of the begin of the round: who changes a row tells
 * so and counts it, and the next round gathers them anew.
 */
#ifndef CAIRN_TOOLS_FSCK_MEND_H
#define CAIRN_TOOLS_FSCK_MEND_H

#include "tools/fsck_internal.h"

#define FSCK_NUMBERS_FAR (1ull << 40) /* beyond any number that was ever given out */

struct fsck_mend {
	struct fsck *f;
	struct ms_txn *txn;
	inode_no lost_found; /* 0: not looked for in this round */
	uint64_t round_changes;
};

void fsck_mend_changed(struct fsck_mend *m);
/* Report a correction of an inode by its path, and count it. */
void fsck_mend_told(struct fsck_mend *m, enum fsck_class c, inode_no ino, const char *text);
/* An inode of root's of this moment, for one of which nothing else is known. */
struct ms_inode fsck_mend_inode(inode_no ino, uint32_t mode);

/* Every row by itself: what is malformed, or belongs to nothing, goes or is made anew. */
must_check int fsck_mend_rows(struct fsck_mend *m);
/* On sound rows: rings of directories are cut, and what has no name gets one in /lost+found. */
must_check int fsck_mend_names(struct fsck_mend *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck.cairn: prove a whole file system, from its directories (nothing of it may run) or live.
 *
 * Offline it proves, in this order: superblocks; the journal and every snapshot; the state that
 * they come to, row by row; the view that a server would keep; every record of every segment, its
 * SHA-256 included; and that every root resolves to good blocks in as many copies as it should
 * have. A fault is named with the path of the file that it touches. What could not be looked at is
 * a fault too: a check that did not happen is never reported as clean.
 *
 * Read-only but for the lock files, unless `repair`. What repair does not do is a fault that stays.
 */
#ifndef CAIRN_TOOLS_FSCK_H
#define CAIRN_TOOLS_FSCK_H

#include <jansson.h>

#include "fs/base/base.h"

#define FSCK_METADATA_DIRS_MAX 8u
#define FSCK_DISKS_MAX	       256u

/* X(name, what it is called): what a fault is about. */
/* clang-format off */
#define FSCK_CLASSES(X) \
	X(SUPERBLOCK, "superblock") \
	X(JOURNAL, "journal") \
	X(SNAPSHOT, "snapshot") \
	X(VIEW, "view") \
	X(ROW, "row") \
	X(NAME, "name") \
	X(LINKS, "links") \
	X(COUNTERS, "counters") \
	X(PLACEMENT, "placement") \
	X(SEGMENT, "segment") \
	X(OWED, "owed") \
	X(CONTENT, "content") \
	X(COPIES, "copies")
enum fsck_class {
#define X(name, text) FSCK_##name,
	FSCK_CLASSES(X)
#undef X
	FSCK_CLASS_COUNT
};
/* clang-format on */

/* Exit status, bits of fsck(8). */
enum fsck_status {
	FSCK_CLEAN = 0,
	FSCK_CORRECTED = 1,
	FSCK_LEFT = 4,
	FSCK_OPERATIONAL = 8,
	FSCK_USAGE = 16
};

struct fsck_options {
	const char *metadata_dirs[FSCK_METADATA_DIRS_MAX]; /* [0] the metadata directory, then
							      journal ones */
	uint32_t metadata_dir_count;
	const char *disk_dirs[FSCK_DISKS_MAX];
	uint32_t disk_count;
	const char *scratch_dir; /* for temporary tables; NULL: TMPDIR, else /var/tmp */
	bool repair;
	bool print;    /* faults on stdout as they are found */
	bool progress; /* on stderr, from 2 s on */
};

struct fsck_result {
	uint64_t faults[FSCK_CLASS_COUNT]; /* that are left */
	uint64_t fault_count, corrected_count, note_count;
	uint64_t files, directories, names, records, record_bytes, blocks, content_bytes;
	json_t *json; /* everything, as fsck.cairn(8) says; owned */
};

/* Offline. 0: it ran to its end, whatever it found; -E_BUSY: a directory is in use; or what
 * refused. */
must_check int fsck_check(const struct fsck_options *options, struct fsck_result *out,
			  struct error *err);
/*
 * The same over the network, on a cluster that is running and may be changing: every name, every
 * block from every replica, verified here. What changes meanwhile is passed over. Repairs nothing.
 */
must_check int fsck_live(const char *mds, const struct fsck_options *options,
			 struct fsck_result *out, struct error *err);
void fsck_result_finish(struct fsck_result *r);
const char *fsck_class_name(enum fsck_class c);

int fsck_run(int argc, char **argv);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mkfs.cairn --recover: a metadata directory from the copies that chunk servers keep.
 *
 * Sources are addresses of chunk servers or, offline, their first chunk directories. All are asked
 * what they have; the one that promises most is fetched and proved first, and the next one only if
 * it keeps less than it promises. Servers that the recovered map names are asked as well, so one
 * address is enough.
 */
#ifndef CAIRN_TOOLS_MKFS_RECOVER_H
#define CAIRN_TOOLS_MKFS_RECOVER_H

#include "fs/disk/super.h"
#include "tools/mkfs.h"

#define MKFS_SOURCES_MAX 64u

struct mkfs_recover_options {
	const char *metadata_dirs[MKFS_METADATA_DIRS_MAX];
	uint32_t metadata_dir_count;
	const char *sources[MKFS_SOURCES_MAX];		/* HOST:PORT or a chunk directory */
	uint32_t source_count;
};

/* Says on stdout what was found and what may be missing. *out is the cluster's superblock. */
must_check int mkfs_recover(const struct mkfs_recover_options *options, struct super *out,
			    struct error *err);

#endif

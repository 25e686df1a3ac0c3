/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Make metadata directories (mkfs.cairn, tests, the simulation): in each journal/, snapshots/ with
 * the snapshot of the empty file system at sequence (0, 0), and the superblock, which comes last: a
 * directory with a superblock is whole. rows/ is made in the first. Synchronous; threads: one.
 */
#ifndef CAIRN_METADATA_SERVER_FORMAT_H
#define CAIRN_METADATA_SERVER_FORMAT_H

#include "fs/disk/super.h"
#include "fs/io/disk.h"
#include "metadata-server/step.h"

struct ms_format_options {
	struct super super; /* role, hash, copies, cluster, name key ...; a directory id per disk
			       is derived from `directory` of this one */
	struct ms_config config;
	uint64_t wall_ns;
	uint32_t root_uid, root_gid;
};

/*
 * disks[0] is the metadata directory, the others further journal directories.
 * -E_NOT_EMPTY: formatted already.
 */
must_check int ms_format(struct disk **disks, uint32_t disk_count,
			 const struct ms_format_options *options, struct error *err);

/* -E_NOT_EMPTY: `disk` is a metadata directory already. */
must_check int ms_format_refuse(struct disk *disk, struct error *err);

#endif

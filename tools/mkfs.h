/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a cluster: a metadata directory, and chunk directories that belong to it. Both refuse a
 * directory that is formatted already; the superblock comes last, so what an interruption left half
 * done is simply made again.
 */
#ifndef CAIRN_TOOLS_MKFS_H
#define CAIRN_TOOLS_MKFS_H

#include "fs/disk/super.h"

#define MKFS_METADATA_DIRS_MAX 5u

struct mkfs_options {
	/* [0] the metadata directory, then journal ones */
	const char *metadata_dirs[MKFS_METADATA_DIRS_MAX];
	uint32_t metadata_dir_count;
	uint8_t copies;			/* 1 .. COPIES_MAX */
	uint8_t min_copies;		/* 0: min(2, copies) */
	enum hash_kind hash;
	bool with_acl;
};

/* *out is the superblock of the new cluster. */
must_check int mkfs_metadata(const struct mkfs_options *options, struct super *out,
			     struct error *err);
/*
 * The disks of one chunk server, a new one if uuid is NULL; `cluster` is any superblock of the
 * cluster.
 */
must_check int mkfs_server(const struct super *cluster, const uint8_t *uuid,
			   const char *const *disk_dirs, uint32_t count, struct error *err);
/* The cluster of a metadata directory, or of the metadata server at HOST:PORT. */
must_check int mkfs_cluster_of(const char *dir_or_address, struct super *out, struct error *err);

int mkfs_run(int argc, char **argv);

#endif

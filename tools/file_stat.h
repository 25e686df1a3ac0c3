/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one file of a running cluster is made of: its blocks and where they are, how they are
 * stored, what its tensors hold, and which other files have the same blocks.
 *
 * Counts of the manifest and bytes by dtype are exact. What is said of distinct blocks is so while
 * they fit the sample (sample.h), else estimated from it: then rate < 1. Threads: one.
 */
#ifndef CAIRN_TOOLS_FILE_STAT_H
#define CAIRN_TOOLS_FILE_STAT_H

#include "fs/codec/codec.h"
#include "tools/estimate.h"
#include "tools/progress_line.h"
#include "tools/sample.h"
#include "tools/tensor_list.h"
#include "tools/tree_files.h"

#define FILE_STAT_SHARED_MAX 100u
#define FILE_STAT_BESIDE_MAX 1000u /* files beside it that are looked into unasked */

struct file_stat_shared { /* another file */
	char *path;	  /* owned; from where the search began */
	double bytes;	  /* distinct plain bytes that both have */
};

struct file_stat {
	struct tree_reader *reader;
	struct tree_attr attr;
	struct sample *sample;
	double rate;
	struct progress_line progress; /* begun by who wants it */

	uint64_t blocks, nodes;		     /* of the manifest */
	uint64_t plain;			     /* in blocks; the rest of its length are holes */
	uint64_t dtypes[TENSORS_DTYPES + 1]; /* bytes of blocks; the last one: of no tensor */
	enum tensors_format format;
	uint32_t tensor_count;

	uint64_t distinct;	/* blocks and nodes in the sample */
	struct estimate unique; /* plain bytes of distinct blocks */
	uint64_t stored_one;	/* first copies, nodes too; in the sample */
	uint64_t stored_all;	/* all copies, nodes too; in the sample */
	struct {
		uint64_t copies, plain, stored; /* of blocks, in the sample */
	} codecs[256];
	uint64_t short_blocks, silent; /* in the sample: with less copies; questions */
	uint64_t with_copies[COPIES_MAX + FORMERS_MAX + 1];
	uint64_t on_server[SERVERS_MAX]; /* by place in the map */

	struct file_stat_shared shared[FILE_STAT_SHARED_MAX]; /* the most first */
	uint32_t shared_count;
	uint64_t sharing;	 /* files that have something of it, */
	double shared_bytes;	 /* distinct bytes of it that any of them has */
	uint64_t searched;	 /* files that were looked into */
	bool search_ended_early; /* there were more */
};

/* NULL: out of memory. */
struct file_stat *file_stat_create(struct tree_reader *reader, uint32_t sample_max);
void file_stat_destroy(struct file_stat *s); /* NULL is allowed */
must_check int file_stat_look(struct file_stat *s, inode_no ino, struct error *err);
/*
 * Which files in `dir`, and with is_deep below it, have the same blocks? Not deep: in at most
 * FILE_STAT_BESIDE_MAX of them. After a look.
 */
must_check int file_stat_search(struct file_stat *s, inode_no dir, bool is_deep, struct error *err);

#endif

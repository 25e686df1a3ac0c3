/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What files take: logical, unique and stored bytes, by group, and how much groups share.
 *
 * Exact, whatever the size: what is counted file by file or block by block as it is met (logical,
 * holes, inline). By sampling (sample.h): what depends on whether a block was met before. Bounded
 * memory: the sample, the groups, and the inodes with several names.
 *
 *   logical   what the files say they hold; a file counts once, however many names it has
 *   holes     of that, no data
 *   inline    of that, in the metadata server: no chunk server stores it
 *   unique    plain bytes of the distinct blocks of the rest; nodes of manifests are apart
 *   stored    their records, headers too, in all copies that servers say they have
 *   own       unique bytes that no other group has
 *
 * Threads: one.
 */
#ifndef CAIRN_TOOLS_USAGE_H
#define CAIRN_TOOLS_USAGE_H

#include "fs/codec/codec.h"
#include "tools/estimate.h"
#include "tools/progress_line.h"
#include "tools/sample.h"
#include "tools/tree_files.h"

enum usage_by { USAGE_BY_NONE, USAGE_BY_TYPE, USAGE_BY_DTYPE, USAGE_BY_DIR, USAGE_BY_CODEC };

#define USAGE_GROUP_BYTES 64u

struct usage_sums { /* estimates over distinct blocks */
	struct estimate unique, own, stored;
	struct estimate_ratio codec;   /* plain bytes of copies over stored bytes */
	struct estimate_ratio what_if; /* stored bytes otherwise over plain bytes */
};

struct usage_group {
	char name[USAGE_GROUP_BYTES];
	uint64_t files, logical, holes, inlined;
	double logical_estimated; /* by codec only: it is not known of a block that is not asked */
	struct usage_sums sums;
};

struct usage {
	struct tree_reader *reader;
	struct sample *sample;
	enum usage_by by;
	struct progress_line progress; /* begun by who wants it */
	const char *name; /* of where the walk begins, if that is a file; not owned */

	uint64_t files, directories, again; /* names of files that had been counted */
	uint64_t logical, holes, inlined, in_blocks;
	uint64_t blocks, nodes; /* as often as they were met */
	uint64_t gone, unreadable;
	char first_unreadable[256];
	uint64_t unanswered, absent; /* after usage_ask(): copies, blocks */

	struct usage_group groups[SAMPLE_GROUPS];
	uint32_t group_count;
	/* after usage_add_up() */
	struct usage_sums total, manifests;
	struct estimate *pairs; /* unique bytes of groups [a * SAMPLE_GROUPS + b], a < b */
	double what_if_rate;	/* 0: not tried */
	uint32_t what_if_blocks;
	enum codec_aim what_if_aim;

	struct usage_links *links; /* private */
};

/* NULL: out of memory. */
struct usage *usage_create(struct tree_reader *reader, enum usage_by by, uint32_t sample_max,
			   uint64_t seed);
void usage_destroy(struct usage *u); /* NULL is allowed */

/* Walk `from` and all below. What cannot be read is counted and passed over. */
must_check int usage_walk(struct usage *u, inode_no from, struct error *err);
/* Ask the servers for the copies of the blocks of the sample. */
must_check int usage_ask(struct usage *u, struct error *err);
/* Fetch at most `blocks_max` of them, encode them for `aim`. */
must_check int usage_what_if(struct usage *u, enum codec_aim aim, uint32_t blocks_max,
			     struct error *err);
void usage_add_up(struct usage *u); /* then, once */

/* The type of a file by its name: what stands behind the last dot, in lower case. */
void usage_type(const char *path, char out[USAGE_GROUP_BYTES]);

#endif

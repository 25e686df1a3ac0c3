/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What files would cost, without a cluster: cut, hashed and encoded as a mount would, block by
 * block. Files are looked at one after the other; a block that any before it has is shared.
 *
 * Bounded memory, whatever the files: sums, columns of a plot, tensors (tensor_list.h), and up to
 * ANALYZE_IDS_MAX distinct blocks; later ones are not remembered, and that is told. A file that
 * changes meanwhile is analyzed as it is read. Threads: one.
 */
#ifndef CAIRN_TOOLS_ANALYZE_H
#define CAIRN_TOOLS_ANALYZE_H

#include "fs/codec/codec.h"
#include "fs/hash/block_id.h"
#include "tools/tensor_list.h"

#define ANALYZE_IDS_MAX (1u << 22) /* 256 GiB of full blocks */
#define ANALYZE_COLUMNS 1024u
#define ANALYZE_CODECS	8u /* more than there are */
_Static_assert(CODEC_COUNT <= ANALYZE_CODECS, "each codec has its sums");

struct analyze_sums {
	uint64_t blocks;
	uint64_t plain;	  /* bytes */
	uint64_t encoded; /* bytes of their records, headers too */
	uint64_t shared;  /* plain bytes of blocks that were met before */
	uint64_t added;	  /* bytes of the records of those that were not */
};

struct analyze_column { /* a part of the file, for a plot */
	uint64_t plain, encoded, shared;
	uint64_t codecs[ANALYZE_CODECS]; /* plain bytes */
	bool starts_tensor;
};

struct analyze_block {
	uint64_t offset;
	uint32_t length, encoded; /* plain; its record */
	struct codec_plan plan;	  /* CODEC_RAW also where its codec saved too little */
	struct block_id id;
	const struct tensor_item *tensor; /* most of it; NULL: none */
	bool is_shared;
};

struct analysis { /* of one file */
	uint64_t bytes;
	bool is_cut; /* by content; else on the grid */
	struct analyze_sums total;
	uint64_t shared_within;				/* of total.shared: with this file itself */
	struct analyze_sums dtypes[TENSORS_DTYPES + 1]; /* the last one: no tensor */
	struct analyze_sums codecs[ANALYZE_CODECS];
	struct tensor_list tensors;
	struct analyze_sums *by_tensor; /* as many */
	struct analyze_column columns[ANALYZE_COLUMNS];
	uint32_t column_count; /* less for a file of few blocks */
};

struct analyzer;

struct analyze_options {
	enum codec_aim aim;
	enum hash_kind hash;
	uint64_t cut_bytes_min; /* smaller files stay on the grid */
	/* May be NULL; a negative answer ends the analysis with that code. */
	int (*on_block)(void *arg, const struct analyze_block *block, const void *plain);
	void *arg;
};
must_check int analyze_create(const struct analyze_options *options, struct analyzer **out);
void analyze_destroy(struct analyzer *a);	/* NULL is allowed */
bool analyze_is_full(const struct analyzer *a); /* blocks were met that it did not remember */
/* A file, into zeroed memory; analyze_finish() also after a failure. */
must_check int analyze_look(struct analyzer *a, const char *path, struct analysis *out,
			    struct error *err);
void analyze_finish(struct analysis *a);

/*
 * Speed of encoding and decoding by each codec, in processor time of one thread, of the blocks
 * that are given: up to SPEED_BLOCKS_MAX.
 */
#define SPEED_BLOCKS_MAX 512u
struct analyze_speed {
	double encode_bytes_per_s, decode_bytes_per_s;
	uint64_t plain, encoded;
};
struct speed_blocks {
	uint8_t *bytes; /* owned; BLOCK_BYTES_MAX for each */
	uint32_t lengths[SPEED_BLOCKS_MAX];
	uint32_t count;
	uint64_t seen;	 /* blocks that were offered */
	uint64_t random; /* of the reservoir */
};
/* Each block that is offered has the same chance to be among those that are kept. -E_NOMEM */
must_check int analyze_speed_offer(struct speed_blocks *s, const void *plain, uint32_t len);
void analyze_speed_finish(struct speed_blocks *s);
must_check int analyze_speed(const struct speed_blocks *s, enum codec_aim aim,
			     struct analyze_speed *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding records anew, on a worker: a record is read from the medium, proved (its checksum, and
 * the digest of its plain bytes, I1), encoded by another aim, decoded again and compared with the
 * plain bytes. Only what passed all that is handed back.
 *
 * One encoder is in one worker's hands at a time; between two calls its owner has it.
 */
#ifndef CAIRN_CHUNK_SERVER_REENCODE_WORK_H
#define CAIRN_CHUNK_SERVER_REENCODE_WORK_H

#include "chunk-server/scrub_read.h"
#include "fs/base/buf.h"

#define REENCODE_BATCH 16u	 /* records in one call: a worker is nobody else's meanwhile */
#define REENCODE_LEAST_PARTS 32u /* less than 1/32 smaller is not worth a write */

enum cs_reencode_verdict {
	REENCODE_BETTER,     /* `out` is the record to be put in the place of the old one */
	REENCODE_DENSE,	     /* not smaller by enough */
	REENCODE_DAMAGED,    /* what lies there is not the block */
	REENCODE_UNREADABLE, /* not now: out of memory */
	REENCODE_WRONG,	     /* the encoding does not decode to the block: a bug, or bad memory */
};

struct cs_reencode_job {
	enum codec_aim aim;
	struct buf *out; /* RECORD_BYTES_MAX of room, the caller's */
	enum cs_reencode_verdict verdict;
	uint32_t old_len; /* of the whole record */
};

struct cs_reencoder {
	struct cs_scrub_reader reader; /* its items[i] is what jobs[i] is about */
	struct cs_reencode_job jobs[REENCODE_BATCH];
	/* private */
	struct codec_plan previous;
	enum codec_aim previous_aim; /* RAW: there was none */
	uint8_t *plain, *again;
	struct codec_scratch *codec;
};

must_check int cs_reencoder_init(struct cs_reencoder *e, struct disk *disk, enum hash_kind hash);
void cs_reencoder_finish(struct cs_reencoder *e); /* zeroed memory is allowed */
/* Do reader.items[0 .. item_count - 1], at most REENCODE_BATCH. */
void cs_reencoder_run(struct cs_reencoder *e);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reading half of a scrub, on a worker: what a segment's footer lists, and whether records are
 * what they should be. Segments are opened anew and past caches (DISK_DIRECT): what counts is the
 * medium. What does not check is read a second time before it is called wrong: a cable may err,
 * too.
 *
 * One reader is in one worker's hands at a time; between two calls its owner has it. Foreign bytes
 * throughout (I8).
 */
#ifndef CAIRN_CHUNK_SERVER_SCRUB_READ_H
#define CAIRN_CHUNK_SERVER_SCRUB_READ_H

#include "fs/disk/segment.h"
#include "fs/io/disk.h"

#define SCRUB_ITEMS_MAX	   256u
#define SCRUB_WINDOW_BYTES MiB(1)

struct cs_scrub_item {
	struct segment_entry entry;
	uint64_t segment;
	int rc; /* 0; -E_CORRUPT; -E_IO: the medium does not give it */
};

struct cs_scrub_reader {
	struct disk *disk;
	enum hash_kind hash;
	bool is_deep;
	/* results of cs_scrub_open(): the entries of its footer, in order of offset */
	struct segment_entry *entries;
	uint32_t entry_count;
	/* to be checked by cs_scrub_check() */
	struct cs_scrub_item items[SCRUB_ITEMS_MAX];
	uint32_t item_count;
	/* private */
	struct disk_file *file;
	uint64_t segment; /* that is open */
	uint8_t *window, *plain;
	uint64_t window_at;
	uint32_t window_len;
	struct codec_scratch *codec;
};

must_check int cs_scrub_reader_init(struct cs_scrub_reader *r, struct disk *disk,
				    enum hash_kind hash);
void cs_scrub_reader_finish(struct cs_scrub_reader *r); /* zeroed memory is allowed */

/*
 * Read the footer: 0; -E_NOENT: no such segment; -E_BAD_MAGIC, -E_CORRUPT, -E_MALFORMED: no good
 * one; -E_IO.
 */
must_check int cs_scrub_open(struct cs_scrub_reader *r, uint64_t segment);
/* Check items[0 .. item_count - 1]; fastest when they are sorted by segment, then offset. */
void cs_scrub_check(struct cs_scrub_reader *r);

#endif

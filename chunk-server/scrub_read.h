/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what segments hold, for who walks over them (scrub.c, reencode.c), on a worker: what a
 * segment's footer lists, its records, and whether these are what they should be. Segments are
 * opened anew and past caches (DISK_DIRECT): what counts is the medium. What does not check is read
 * a second time before it is called wrong: a cable may err, too.
 *
 * One reader is in one worker's hands at a time; between two calls its owner has it. Foreign bytes
 * throughout (I8).
 */
#ifndef CAIRN_CHUNK_SERVER_SCRUB_READ_H
#define CAIRN_CHUNK_SERVER_SCRUB_READ_H

#include "chunk-server/store.h"
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
/*
 * On the loop's thread, behind cs_scrub_open(): the next records of the footer that the index has
 * there into items[], as many as one window holds. `wants`, if not NULL, says of each whether it is
 * taken (1), passed over (0), or the next one to come (-1).
 */
struct cs_scrub_fill {
	struct cs_store *store;
	uint64_t segment;
	uint32_t entry_at; /* of the footer; all were looked at once it is entry_count */
	int (*wants)(void *arg, const struct block_id *id, const struct cs_place *place);
	void *arg;
};
void cs_scrub_fill(struct cs_scrub_reader *r, struct cs_scrub_fill *fill);
/* The bytes of a record, in the window until the next call: 0, -E_CORRUPT, -E_IO, ... */
must_check int cs_scrub_record(struct cs_scrub_reader *r, const struct cs_scrub_item *item,
			       const uint8_t **out);
/* Check items[0 .. item_count - 1]; fastest when they are sorted by segment, then offset. */
void cs_scrub_check(struct cs_scrub_reader *r);

#endif

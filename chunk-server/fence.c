/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The newest term of a metadata server that this server has heard, kept over restarts. Terms only
 * rise, and one that mkfs.cairn --recover made is far ahead of the one it replaces. So who speaks
 * with an older term is a metadata server that was given up and came back, or an old backup: it
 * knows nothing of the files made since, and its garbage collection would delete them (I9). It is
 * not joined; and it is told the newer term, so that it stops by itself.
 *
 * File "term" of every disk, so that any may fail; the highest counts. 24 bytes: 0 4 magic "CRNT" ·
 * 4 4 zero · 8 8 term · 16 8 XXH3-64 of 0..15. Written once for each term, in its place, so that a
 * full disk takes it.
 */
#include <inttypes.h>
#include <string.h>

#include "chunk-server/serve_internal.h"
#include "fs/base/bytes.h"
#include "fs/base/log.h"
#include "fs/hash/checksum.h"

#define LOG_MODULE "fence"

#define TERM_FILE    "term"
#define TERM_BYTES   24u
#define TERM_CHECKED 16u

static const char magic[4] = {'C', 'R', 'N', 'T'};

/* Foreign (I8); 0: none, or not to be believed. */
static uint64_t load(struct disk *disk)
{
	uint8_t bytes[TERM_BYTES];
	char found[sizeof(magic)];

	if (disk_read_file(disk, TERM_FILE, bytes, sizeof(bytes)) != (int)sizeof(bytes))
		return 0;
	struct rd r = rd_init(bytes, sizeof(bytes));
	rd_bytes(&r, found, sizeof(found));
	rd_zeros(&r, 4);
	uint64_t term = rd_u64(&r), checksum = rd_u64(&r);
	if (!rd_done(&r) || memcmp(found, magic, sizeof(magic)) != 0 ||
	    checksum != checksum_of(bytes, TERM_CHECKED)) {
		log_warn("the term that was heard last cannot be read");
		return 0;
	}
	return term;
}

static int store(struct disk *disk, uint64_t term)
{
	uint8_t bytes[TERM_BYTES];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct disk_file *file;

	wr_bytes(&w, magic, sizeof(magic));
	wr_zeros(&w, 4);
	wr_u64(&w, term);
	wr_u64(&w, checksum_of(bytes, TERM_CHECKED));
	ASSERT(wr_ok(&w));
	int rc = disk_open(disk, TERM_FILE, DISK_WRITE | DISK_CREATE, &file);
	if (rc < 0)
		return rc;
	rc = disk_write(file, bytes, sizeof(bytes), 0);
	if (rc >= 0)
		rc = disk_sync(file);
	disk_close(file);
	return rc < 0 ? rc : disk_sync_dir(disk, "");
}

void cs_fence_open(struct cs_server *s)
{
	for (uint32_t i = 0; i < s->options.disk_count; i++)
		s->term = MAX_OF(s->term, load(s->options.disks[i].disk));
}

bool cs_fence_admits(struct cs_server *s, const Wire__Stamp *stamp)
{
	uint64_t term = stamp != NULL ? stamp->term : 0;

	if (term != 0 && term < s->term) {
		log_error("the metadata server is of term %" PRIu64 ", but one of term %" PRIu64
			  " was heard: it was replaced, or is an old backup, and is not served",
			  term, s->term);
		return false;
	}
	if (term <= s->term)
		return true;
	s->term = term;
	for (uint32_t i = 0; i < s->options.disk_count; i++) {
		/* While we run it is known in any case; and others keep it, too. */
		if (store(s->options.disks[i].disk, term) < 0)
			log_warn("cannot keep the term of the metadata server on disk %u", i);
	}
	return true;
}

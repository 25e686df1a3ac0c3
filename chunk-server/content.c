/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content number. What the files say is decoded, not believed (I8); any doubt makes a new
 * number.
 */
#include "chunk-server/content.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/base/log.h"
#include "fs/hash/checksum.h"

#define LOG_MODULE "content"

#define CONTENT_FILE "content"
#define BODY_BYTES   (CS_CONTENT_BYTES - 8u)

static const char magic[4] = {'C', 'R', 'N', 'C'};

static void encode(const struct cs_content *content, uint8_t out[CS_CONTENT_BYTES])
{
	struct wr w = wr_init(out, CS_CONTENT_BYTES);

	wr_bytes(&w, magic, sizeof(magic));
	wr_zeros(&w, 4);
	wr_u64(&w, content->number);
	wr_u64(&w, content->set);
	wr_zeros(&w, 32);
	wr_u64(&w, checksum_of(out, BODY_BYTES));
	ASSERT(wr_ok(&w));
}

int cs_content_decode(const uint8_t in[CS_CONTENT_BYTES], uint64_t *number, uint64_t *set)
{
	struct rd r = rd_init(in, CS_CONTENT_BYTES);
	uint8_t found[sizeof(magic)];

	rd_bytes(&r, found, sizeof(found));
	if (memcmp(found, magic, sizeof(magic)) != 0)
		return -E_BAD_MAGIC;
	rd_zeros(&r, 4);
	*number = rd_u64(&r);
	*set = rd_u64(&r);
	rd_zeros(&r, 32);
	if (rd_u64(&r) != checksum_of(in, BODY_BYTES))
		return -E_CORRUPT;
	return rd_done(&r) && *number != 0 ? 0 : -E_MALFORMED;
}

static int uuid_compare(const void *a, const void *b)
{
	return memcmp(a, b, UUID_BYTES);
}

uint64_t cs_content_set(const uint8_t uuids[][UUID_BYTES], uint32_t count)
{
	uint8_t sorted[DISKS_MAX][UUID_BYTES];

	ASSERT(count >= 1 && count <= DISKS_MAX);
	memcpy(sorted, uuids, count * UUID_BYTES);
	qsort(sorted, count, UUID_BYTES, uuid_compare);
	return checksum_of(sorted, count * UUID_BYTES);
}

/* The number that every disk of this set agrees on; 0: there is none. */
static uint64_t agreed(const struct cs_content *content)
{
	uint64_t first = 0;

	for (uint32_t i = 0; i < content->count; i++) {
		uint8_t bytes[CS_CONTENT_BYTES];
		uint64_t number, set;
		int rc = disk_read_file(content->disks[i], CONTENT_FILE, bytes, sizeof(bytes));
		if (rc != (int)sizeof(bytes) || cs_content_decode(bytes, &number, &set) < 0 ||
		    set != content->set || (i > 0 && number != first))
			return 0;
		first = number;
	}
	return first;
}

/*
 * In its place, so that a full disk takes it, too: one that is torn is none, and makes a new
 * number.
 */
static int store(struct disk *disk, const uint8_t bytes[CS_CONTENT_BYTES])
{
	struct disk_file *file;
	int rc = disk_open(disk, CONTENT_FILE, DISK_WRITE | DISK_CREATE, &file);

	if (rc < 0)
		return rc;
	rc = disk_write(file, bytes, CS_CONTENT_BYTES, 0);
	if (rc >= 0)
		rc = disk_sync(file);
	disk_close(file);
	return rc < 0 ? rc : disk_sync_dir(disk, "");
}

int cs_content_change(struct cs_content *content, uint64_t fresh)
{
	uint8_t bytes[CS_CONTENT_BYTES];
	int result = 0;

	ASSERT(fresh != 0);
	content->number = fresh;
	content->is_stored = false;
	encode(content, bytes);
	for (uint32_t i = 0; i < content->count; i++) {
		int rc = store(content->disks[i], bytes);
		if (rc == 0)
			content->is_stored = true;
		else
			result = rc;
	}
	/*
	 * One that could not take it still says the old number: the next start finds them at odds.
	 */
	return content->is_stored ? 0 : result;
}

int cs_content_open(struct cs_content *content, bool is_whole, uint64_t fresh)
{
	content->set = cs_content_set((const uint8_t(*)[UUID_BYTES])content->uuids, content->count);
	uint64_t kept = is_whole ? agreed(content) : 0;

	if (kept != 0) {
		content->number = kept;
		content->is_stored = true;
		return 0;
	}
	log_info("the content may be another than it was: number=%016" PRIx64, fresh);
	return cs_content_change(content, fresh);
}

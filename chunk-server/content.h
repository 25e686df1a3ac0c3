/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content number of a chunk server: random, and another one whenever the server may lack
 * something that nobody knows by name. The metadata server compares it with the last that it saw
 * (Join, Heartbeat): another one degrades all groups of the server, and healing compares them.
 *
 * It changes when the set of disks is another one, a disk fails, a store could not prove at its
 * opening that nothing is missing (its index was not trusted, so the system went down and took what
 * was not synced, I15; or places did not check), the owed log is damaged, or a debt cannot be
 * noted.
 *
 * File "content" of every disk, so that the first one may fail as any other. Kept only if all
 * agree. 64 bytes: 0 4 magic "CRNC" · 4 4 zero · 8 8 number · 16 8 XXH3-64 of the sorted uuids of
 * the disks · 24 32 zero · 56 8 XXH3-64 of 0..55.
 *
 * Calls wait for the disk: they are rare. Threads: one.
 */
#ifndef CAIRN_CHUNK_SERVER_CONTENT_H
#define CAIRN_CHUNK_SERVER_CONTENT_H

#include "fs/disk/segment.h"
#include "fs/io/disk.h"

#define CS_CONTENT_BYTES 64u

struct cs_content {
	/* not owned; filled, with the next two, before cs_content_open() */
	struct disk *disks[DISKS_MAX];
	uint8_t uuids[DISKS_MAX][UUID_BYTES];
	uint32_t count;
	uint64_t set;	 /* digest of the uuids */
	uint64_t number; /* not 0 */
	bool is_stored;	 /* on one disk at least */
};

/*
 * The number of the last life, if `is_whole` and it was of these disks; else `fresh`, which is then
 * stored. 0, or what the disks say: no disk could store it.
 */
must_check int cs_content_open(struct cs_content *content, bool is_whole, uint64_t fresh);
/*
 * Something may be missing: `fresh` is the number, durably if this returns 0 (on one disk at
 * least).
 */
must_check int cs_content_change(struct cs_content *content, uint64_t fresh);

/* For who reads directories offline. -E_MALFORMED, -E_BAD_MAGIC, -E_CORRUPT. */
must_check int cs_content_decode(const uint8_t in[CS_CONTENT_BYTES], uint64_t *number,
				 uint64_t *set);
uint64_t cs_content_set(const uint8_t uuids[][UUID_BYTES], uint32_t count);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far the scrub of a disk is: file "scrub" of a chunk directory, 128 bytes, replaced whole
 * every few seconds. Lost or damaged, a new pass begins: nothing but time depends on it.
 *
 *   0 4 magic "CRNB" · 4 2 version 1 · 6 2 flags (1 a pass is running, 2 it is deep) · 8 8 pass ·
 *   16 8 segment that it goes on with · 24 8 began at, wall ns · 32 8 last whole pass ended at,
 *   wall ns · 40 8 bytes, 48 8 records, 56 8 wrong records of this pass · 64 8 wrong records of the
 *   last whole pass · 72 48 zero · 120 8 XXH3-64 of 0..119
 *
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_DISK_SCRUB_STATE_H
#define CAIRN_FS_DISK_SCRUB_STATE_H

#include "fs/base/base.h"

#define SCRUB_STATE_BYTES 128u
#define SCRUB_STATE_FILE  "scrub"

struct scrub_state {
	bool is_running;
	bool is_deep;		/* decode and prove ids, too */
	uint64_t pass;		/* 1, 2, ...; 0: there was none */
	uint64_t segment;
	uint64_t began_ns, ended_ns;
	uint64_t bytes, records, wrong;
	uint64_t wrong_last;
};
void scrub_state_encode(const struct scrub_state *s, uint8_t out[SCRUB_STATE_BYTES]);
/* -E_BAD_MAGIC, -E_CORRUPT, -E_WRONG_VERSION, -E_MALFORMED. */
must_check int scrub_state_decode(const uint8_t in[SCRUB_STATE_BYTES], struct scrub_state *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a pass over all records of a disk is: what the files of the scrub (scrub_state.h) and of
 * encoding anew (reencode_state.h) have in common. They differ in magic, length and in what one
 * flag and three counts say:
 *
 *   0 4 magic · 4 2 version 1 · 6 2 flags (1 a pass is running, 2 the other one) · 8 8 pass ·
 *   16 8 segment that it goes on with · 24 8 began at, wall ns · 32 8 last whole pass ended at,
 *   wall ns · 40 8 bytes looked at · 48 24 counts · 72 zeros · the last 8 XXH3-64 of all before
 *
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_DISK_PASS_STATE_H
#define CAIRN_FS_DISK_PASS_STATE_H

#include "fs/base/base.h"

struct pass_state {
	bool is_running, has_flag;
	uint64_t pass, segment, began_ns, ended_ns, bytes;
	uint64_t counts[3];
};

struct pass_kind {
	const char *magic;	/* of four characters */
	uint32_t bytes;		/* of the whole file */
};

void pass_state_encode(const struct pass_kind *kind, const struct pass_state *s, uint8_t *out);
/* -E_BAD_MAGIC, -E_CORRUPT, -E_WRONG_VERSION, -E_MALFORMED. */
must_check int pass_state_decode(const struct pass_kind *kind, const uint8_t *in,
				 struct pass_state *out);

#endif

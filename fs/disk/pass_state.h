/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a pass over all records of a disk is: a file of a chunk directory, replaced whole every
 * few seconds. Lost or damaged, a new pass begins: nothing but time depends on it. The scrub and
 * encoding anew keep one each. They differ in magic, length, and in what one flag and three counts
 * say:
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

#define PASS_STATE_BYTES_MAX 128u

struct pass_kind {
	const char *file;	/* its name */
	const char *magic;	/* of four characters */
	uint32_t bytes;		/* of the whole file */
};

extern const struct pass_kind pass_state_scrub;	   /* "scrub", 128 bytes "CRNB" */
extern const struct pass_kind pass_state_reencode; /* "reencode", 96 bytes "CRNX" */

struct pass_state {
	bool is_running;
	union {
		bool has_flag;
		bool is_deep;	/* scrub: decode and prove ids, too */
		bool is_all;	/* reencode, asked for: all not encoded well counts as cold */
	};
	uint64_t pass;		/* 1, 2, ...; 0: there was none */
	uint64_t segment;
	uint64_t began_ns, ended_ns;
	uint64_t bytes;
	union {
		uint64_t counts[3];
		struct {	/* scrub; `wrong_last` is of the last whole pass */
			uint64_t records, wrong, wrong_last;
		};
		struct {	/* reencode: of what it encoded anew */
			uint64_t blocks, bytes_before, bytes_after;
		};
	};
};

void pass_state_encode(const struct pass_kind *kind, const struct pass_state *s, uint8_t *out);
/* -E_BAD_MAGIC, -E_CORRUPT, -E_WRONG_VERSION, -E_MALFORMED. */
must_check int pass_state_decode(const struct pass_kind *kind, const uint8_t *in,
				 struct pass_state *out);

#endif

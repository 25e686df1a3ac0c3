/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far encoding anew is on a disk: file "reencode" of a chunk directory, 96 bytes, replaced
 * whole every few seconds. Lost or damaged, a new pass begins: nothing but time depends on it.
 *
 *   0 4 magic "CRNX" · 4 2 version 1 · 6 2 flags (1 a pass is running, 2 it takes all blocks for
 *   cold) · 8 8 pass · 16 8 segment that it goes on with · 24 8 began at, wall ns · 32 8 last whole
 *   pass ended at, wall ns · 40 8 bytes looked at in this pass · 48 8 blocks, 56 8 bytes before,
 *   64 8 bytes after of what it encoded anew · 72 16 zero · 88 8 XXH3-64 of 0..87
 *
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_DISK_REENCODE_STATE_H
#define CAIRN_FS_DISK_REENCODE_STATE_H

#include "fs/base/base.h"

#define REENCODE_STATE_BYTES 96u
#define REENCODE_STATE_FILE  "reencode"

struct reencode_state {
	bool is_running;
	bool is_all;		/* asked for: whatever was not encoded well counts as cold */
	uint64_t pass;		/* 1, 2, ...; 0: there was none */
	uint64_t segment;
	uint64_t began_ns, ended_ns;
	uint64_t bytes;
	uint64_t blocks, bytes_before, bytes_after;
};
void reencode_state_encode(const struct reencode_state *s, uint8_t out[REENCODE_STATE_BYTES]);
/* -E_BAD_MAGIC, -E_CORRUPT, -E_WRONG_VERSION, -E_MALFORMED. */
must_check int reencode_state_decode(const uint8_t in[REENCODE_STATE_BYTES],
				     struct reencode_state *out);

#endif

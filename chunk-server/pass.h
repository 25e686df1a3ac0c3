/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pass over all records of a disk, as the scrub and encoding anew make one after the other: which
 * it is, since when, how far it is and how fast. Which records it looks at, when, and what for is
 * its owner's.
 *
 * The position is kept in a file (fs/disk/pass_state.h), written on a worker: a restart goes on
 * there. What a restart looks at once more costs time only, so that it may be old.
 *
 * Memory is the caller's and stays while cs_pass_is_saving(). Threads: the loop's.
 */
#ifndef CAIRN_CHUNK_SERVER_PASS_H
#define CAIRN_CHUNK_SERVER_PASS_H

#include "fs/disk/pass_state.h"
#include "fs/io/disk.h"
#include "fs/io/loop.h"

struct cs_pass {
	struct pass_state state;
	uint64_t bytes_total;	/* that there were when it began, as far as its owner knows */
	uint64_t bytes_per_s;	/* of the second that ended last, for people */

	/* private */
	const struct pass_kind *kind;
	struct disk *disk;
	struct loop *loop;
	struct loop_work save_work;
	uint8_t save_bytes[PASS_STATE_BYTES_MAX];
	int save_rc;
	bool is_saving, is_stopped;
	uint64_t saved_ms;
	uint64_t speed_ms, speed_bytes;
};

/* Reads the position; if there is none, or it is damaged, there was no pass yet. */
void cs_pass_init(struct cs_pass *p, const struct pass_kind *kind, struct disk *disk,
		  struct loop *loop);
/* The position is written once more, and then no more. */
void cs_pass_stop(struct cs_pass *p);
bool cs_pass_is_saving(const struct cs_pass *p);

/* How long until the next one, if it is to begin each `period_ms`; 0: now. */
uint64_t cs_pass_wait_ms(const struct cs_pass *p, uint64_t period_ms);
/* The next one begins, with nothing looked at. Its flag and counts are the owner's. */
void cs_pass_begin(struct cs_pass *p);
void cs_pass_end(struct cs_pass *p);

/* Write the position, unless that was done in the last seconds or `is_urgent`. */
void cs_pass_save(struct cs_pass *p, bool is_urgent);
/* So many bytes more were looked at, for the speed. */
void cs_pass_note_speed(struct cs_pass *p, uint64_t bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the records of a segment that has no footer, or a wrong one.
 *
 * Records follow each other at multiples of 8. Where one does not check, the next good one is
 * looked for: if there is one, the bytes between are a bad middle, reported and stepped over; if
 * there is none, the tail of the segment is where the last good record ends, and what follows was
 * never answered (torn by a crash) or is preallocated zeros.
 *
 * Pure but for `read`. Foreign bytes throughout (I8). Threads: any.
 */
#ifndef CAIRN_CHUNK_SERVER_SCAN_H
#define CAIRN_CHUNK_SERVER_SCAN_H

#include "fs/disk/segment.h"

struct cs_scan {
	/* Read like disk_read(): bytes, short only at the end; negative ends the scan with that
	 * code. */
	int (*read)(void *arg, void *out, uint32_t len, uint64_t offset);
	/* A good record. A negative result ends the scan with that code. */
	int (*on_record)(void *arg, const struct segment_entry *entry);
	/* `bytes` at `offset` lie between good records and are none. May be NULL. */
	void (*on_damage)(void *arg, uint64_t offset, uint64_t bytes);
	void *arg;
	uint64_t end; /* scan up to here */

	/* results */
	uint64_t tail; /* where the last good record ends, padding included */
	bool is_torn;  /* behind the tail lies something else than zeros */
};

/* 0; -E_NOMEM, or what read() or on_record() said. */
must_check int cs_scan_run(struct cs_scan *scan);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a check found: faults (exit bit 4), corrections (bit 1) and notes (worth knowing, nothing
 * wrong). Each is one line for people and one JSON object; the list is bounded, the counts are not.
 */
#ifndef CAIRN_TOOLS_FSCK_REPORT_H
#define CAIRN_TOOLS_FSCK_REPORT_H

#include "tools/fsck.h"

struct fsck_report {
	struct fsck_result *result;
	bool print, progress, is_terminal;
	bool quiet; /* faults and notes are neither told nor counted */
	uint64_t listed;
	json_t *faults, *corrected, *notes;
	uint64_t started_ms, shown_ms;
	const char *phase; /* of the progress shown, and since when */
	uint64_t phase_ms, progress_calls;
};

must_check int fsck_report_init(struct fsck_report *r, const struct fsck_options *o,
				struct fsck_result *result);
void fsck_report_finish(struct fsck_report *r); /* puts the JSON into the result */

/* After a repair: `now` also tells what was found and corrected `before`. */
void fsck_report_join(struct fsck_result *now, const struct fsck_result *before);

/* `subject`: the file of ours or the path of the user that it touches. */
void fsck_fault(struct fsck_report *r, enum fsck_class c, const char *subject, const char *format,
		...) printf_like(4, 5);
void fsck_corrected(struct fsck_report *r, enum fsck_class c, const char *subject,
		    const char *format, ...) printf_like(4, 5);
void fsck_note(struct fsck_report *r, const char *subject, const char *format, ...)
	printf_like(3, 4);
/*
 * Say how far we are, once it has taken 2 s: with the time left where `all` is known (else 0). On a
 * terminal twice a second, elsewhere a line each 10 s.
 */
void fsck_progress(struct fsck_report *r, const char *what, uint64_t done, uint64_t all);

/* Names are bytes of strangers: everything but printable UTF-8 becomes \xNN. Returns out. */
char *fsck_escape(const void *bytes, size_t len, char *out, size_t out_bytes);

#endif

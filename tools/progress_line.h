/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line on stderr, if that is a terminal, that says how far something of unknown length is. What
 * ends within two seconds shows none. Threads: one.
 */
#ifndef CAIRN_TOOLS_PROGRESS_LINE_H
#define CAIRN_TOOLS_PROGRESS_LINE_H

#include "fs/base/base.h"

struct progress_line { /* zeroed: shows nothing */
	bool is_wanted, is_shown;
	uint64_t begun_ms, shown_ms;
};

void progress_line_begin(struct progress_line *line);
/* To be asked as often as anything moves: true five times a second at most. Then write. */
bool progress_line_is_due(const struct progress_line *line);
void progress_line_write(struct progress_line *line, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Before anything else is printed, and at the end. */
void progress_line_wipe(struct progress_line *line);

#endif

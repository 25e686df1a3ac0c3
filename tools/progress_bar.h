/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A progress bar on stderr, if that is a terminal: bytes of bytes, and how fast. What ends within
 * two seconds shows none. Threads: one.
 */
#ifndef CAIRN_TOOLS_PROGRESS_BAR_H
#define CAIRN_TOOLS_PROGRESS_BAR_H

#include "fs/base/base.h"

struct progress_bar {
	uint64_t begun_ms, shown_ms;
	bool is_shown;
};

uint64_t progress_bar_now_ms(void);
void progress_bar_begin(struct progress_bar *bar);
/* May be called as often as anything moves: it is drawn ten times a second at most. */
void progress_bar_show(struct progress_bar *bar, uint64_t done, uint64_t total);
/* Before anything else is printed, and at the end. */
void progress_bar_wipe(struct progress_bar *bar);

#endif

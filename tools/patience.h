/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount that is cut off from its metadata server keeps whoever looks something up waiting. In
 * between, such a call ends with EINTR after some seconds. Not nested. Threads: one.
 */
#ifndef CAIRN_TOOLS_PATIENCE_H
#define CAIRN_TOOLS_PATIENCE_H

#include <signal.h>

#include "fs/base/base.h"

struct patience {
	struct sigaction before;
};

void patience_begin(struct patience *p);
void patience_end(struct patience *p); /* errno stays */
/* What to say of that EINTR: -E_TIMEDOUT, and what to look at. */
int patience_lost(struct error *err);

#endif

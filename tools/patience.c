/* SPDX-License-Identifier: Apache-2.0 */
/* An alarm whose handler does nothing, so that it ends a call. See patience.h. */
#include "tools/patience.h"

#include <errno.h>
#include <unistd.h>

#define PATIENCE_S 5u

static void late(int signo)
{
	(void)signo;
}

void patience_begin(struct patience *p)
{
	struct sigaction action = {.sa_handler = late};

	(void)sigaction(SIGALRM, &action, &p->before);
	(void)alarm(PATIENCE_S);
}

void patience_end(struct patience *p)
{
	int why = errno;

	(void)alarm(0);
	(void)sigaction(SIGALRM, &p->before, NULL);
	errno = why;
}

int patience_lost(struct error *err)
{
	return error_say(err, -E_TIMEDOUT,
			 "the mount does not answer within %u s: is its metadata server up? see "
			 "cairn status",
			 PATIENCE_S);
}

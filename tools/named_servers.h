/* SPDX-License-Identifier: Apache-2.0 */
/* SERVER... of a command line: chunk servers by number or address; none named: all of them. */
#ifndef CAIRN_TOOLS_NAMED_SERVERS_H
#define CAIRN_TOOLS_NAMED_SERVERS_H

#include "tools/status.h"

#define NAMED_SERVERS_MAX 64u

struct named_servers { /* zero it */
	const char *names[NAMED_SERVERS_MAX]; /* of the command line */
	uint32_t count;
};
/* False: there are too many. */
must_check bool named_servers_add(struct named_servers *n, const char *name);
/* 0; -E_NOENT: one of them is no server. */
must_check int named_servers_check(const struct named_servers *n, const struct status *s,
				   struct error *err);
/* Is it meant? Those that are out or removed only by their name. */
bool named_servers_has(const struct named_servers *n, const Wire__ServerStatus *server);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `cairn drain` and `cairn remove` share: naming a chunk server, setting its state, and saying
 * why that was refused: the metadata server decides, the sentence is made here from the replica
 * map.
 */
#ifndef CAIRN_TOOLS_SERVER_SET_H
#define CAIRN_TOOLS_SERVER_SET_H

#include <argp.h>

#include "fs/placement/map.h"

struct server_set {
	const char *mds; /* NULL: found as admin_find() says */
	server_no server;
	enum server_state state;
	bool force;
};
/* What became of it: of the newest map. */
struct server_share {
	enum server_state was;
	uint32_t pgs_replica, pgs_former; /* groups that name it */
	uint32_t others;		  /* servers that take a share */
	uint32_t copies;		  /* that each block shall have */
};

/* What both commands understand: --force, --mds, the server. state->input: a struct server_set. */
error_t server_set_option(int key, char *text, struct argp_state *state);
/* -E_BUSY: refused, `err` says why; others as admin_call(). */
must_check int server_set_state(const struct server_set *set, struct server_share *out,
				struct error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `cairn status`, `cairn df` and `cairn servers` show: one question to the metadata server,
 * and the figures derived from its answer. The JSON keys are a contract (cairn-status(1)).
 */
#ifndef CAIRN_TOOLS_STATUS_H
#define CAIRN_TOOLS_STATUS_H

#include <jansson.h>

#include "fs/hash/block_id.h"
#include "fs/wire/msg.h"
#include "tools/command.h"

#define STATUS_HEAL_BYTES 256u

struct status {
	Wire__StatusReply *reply;      /* owned */
	enum hash_kind hash;	       /* that names blocks */
	uint64_t blocks, bytes_stored; /* sums over servers: all copies */
	/* plain bytes of distinct blocks: the copies' sum over the copies */
	uint64_t bytes_unique;
	uint64_t bytes_free, bytes_total;   /* of servers that take data */
	uint32_t servers_up, servers_known; /* without those that are removed */
	uint32_t servers_unheard;	    /* that have told nothing yet to this metadata server */
	bool is_healthy;		    /* every PG has all copies, nothing to heal */
	char heal_text[STATUS_HEAL_BYTES];  /* "12 blocks to go at 3 MB/s, about 4 s" */
	/* plain / stored; 1 while nothing is stored */
	double ratio_dedup, ratio_codec, ratio_total;
};

/* Has it told how it is, since the metadata server started? */
bool status_is_heard(const Wire__ServerStatus *server);

/* `mds` NULL: found as admin_find() says. */
must_check int status_get(const char *mds, struct status *out, struct error *err);
void status_finish(struct status *s);
json_t *status_json(const struct status *s); /* NULL: out of memory */

/* Parse a command line of --json and --mds alone. False: a usage error was printed. */
bool status_arguments_parse(int argc, char **argv, const char *doc, struct command_target *out);
json_t *status_reencode_json(const Wire__ReencodeStatus *r);
int status_print_json(json_t *json); /* takes it; exit status */

/* A moment of the servers' wall clock, in local time; 0: "never". */
#define STATUS_WHEN_BYTES 32u
const char *status_when(char out[STATUS_WHEN_BYTES], uint64_t wall_ns);

#endif

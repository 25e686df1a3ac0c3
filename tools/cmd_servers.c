/* SPDX-License-Identifier: Apache-2.0 */
/* cairn servers: the chunk servers and their state. */
#include "tools/command.h"

#include <stdio.h>

#include "fs/base/text.h"
#include "fs/placement/map.h"
#include "tools/status.h"

static void print_people(const struct status *s)
{
	char stored[TEXT_BYTES_HUMAN], left[TEXT_BYTES_HUMAN];

	printf("%-6s %-8s %-22s %-16s %-10s %6s %10s %10s %10s %8s\n", "SERVER", "STATE", "ADDRESS", "HOST",
	       "RACK", "PGS", "BLOCKS", "STORED", "FREE", "HEARD");
	for (size_t i = 0; i < s->reply->n_servers; i++) {
		const Wire__ServerStatus *server = s->reply->servers[i];

		printf("%-6u %-8s %-22s %-16s %-10s %6u %10llu %10s %10s %6llu ms\n", server->server,
		       server_state_name((enum server_state)server->state), server->address, server->host,
		       server->rack, server->pgs, (unsigned long long)server->blocks,
		       text_bytes_human(stored, server->bytes_stored), text_bytes_human(left, server->bytes_free),
		       (unsigned long long)server->heartbeat_age_ms);
	}
}

int cmd_servers(int argc, char **argv)
{
	struct status_arguments a;
	struct status s;
	struct error err = { 0 };
	int status = COMMAND_DONE;

	if (!status_arguments_parse(argc, argv, "List the chunk servers.", &a))
		return COMMAND_USAGE;
	if (status_get(a.mds, &s, &err) < 0)
		return command_fail("servers", &err);
	if (a.json) {
		json_t *all = status_json(&s);

		status = status_print_json(all ? json_incref(json_object_get(all, "servers")) : NULL);
		json_decref(all);
	} else {
		print_people(&s);
	}
	status_finish(&s);
	return status;
}

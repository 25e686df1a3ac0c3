/* SPDX-License-Identifier: Apache-2.0 */
/* cairn servers: the chunk servers and their state. */
#include "tools/command.h"

#include <stdio.h>

#include "fs/base/text.h"
#include "fs/placement/map.h"
#include "tools/media_status.h"
#include "tools/status.h"

static void print_server(const Wire__ServerStatus *s)
{
	char stored[TEXT_BYTES_HUMAN], left[TEXT_BYTES_HUMAN], trash[TEXT_BYTES_HUMAN], disks[16];

	snprintf(disks, sizeof disks, s->disks_failed ? "%u-%u" : "%u", s->disks + s->disks_failed,
		 s->disks_failed);
	printf("%-6u %-8s %-22s %-12s %-8s %6s %6u %9llu %9s %9s %9s %9llu %7llu s\n", s->server,
	       server_state_name((enum server_state)s->state), s->address, s->host, s->rack, disks,
	       s->pgs, (unsigned long long)s->blocks, text_bytes_human(stored, s->bytes_stored),
	       text_bytes_human(left, s->bytes_free), text_bytes_human(trash, s->trash_bytes),
	       (unsigned long long)s->heal_pending_blocks,
	       (unsigned long long)s->heartbeat_age_ms / 1000);
}

static void print_people(const struct status *s)
{
	printf("%-6s %-8s %-22s %-12s %-8s %6s %6s %9s %9s %9s %9s %9s %9s\n", "SERVER", "STATE",
	       "ADDRESS", "HOST", "RACK", "DISKS", "PGS", "BLOCKS", "STORED", "FREE", "TRASH",
	       "TO HEAL", "SILENT");
	for (size_t i = 0; i < s->reply->n_servers; i++) {
		Wire__MediaStatus *media = media_status_read(s->reply->servers[i]);

		print_server(s->reply->servers[i]);
		media_status_print_disks(media);
		media_status_free(media);
	}
}

int cmd_servers(int argc, char **argv)
{
	struct command_target a;
	struct status s;
	struct error err = { 0 };
	int status = COMMAND_DONE;

	if (!status_arguments_parse(argc, argv, "List the chunk servers.", &a))
		return COMMAND_USAGE;
	if (status_get(a.mds, &s, &err) < 0)
		return command_fail("servers", &err);
	if (a.json) {
		json_t *all = status_json(&s);

		status = status_print_json(all ? json_incref(json_object_get(all, "servers"))
					       : NULL);
		json_decref(all);
	} else {
		print_people(&s);
	}
	status_finish(&s);
	return status;
}

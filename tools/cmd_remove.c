/* SPDX-License-Identifier: Apache-2.0 */
/* cairn remove: forget a chunk server; refused while any data could be lost by that. */
#include "tools/command.h"

#include <stdio.h>

#include "tools/server_set.h"

static const struct argp_option options[] = {
	{"force", 'f', NULL, 0, "it is gone for good: give up what only it holds", 0},
	{"mds", 'm', "HOST:PORT", 0, "the metadata server", 0},
	{0},
};

int cmd_remove(int argc, char **argv)
{
	static const struct argp argp = {options,
					 server_set_option,
					 "SERVER",
					 "Forget a chunk server for ever. Refused while a "
					 "placement group needs what it holds; a server that "
					 "is there is never forced out.",
					 NULL,
					 NULL,
					 NULL};
	struct server_set set = {.state = SERVER_REMOVED};
	struct server_share share;
	struct error err = {0};

	if (command_parse(&argp, argc, argv, &set) != 0)
		return COMMAND_USAGE;
	if (server_set_state(&set, &share, &err) < 0)
		return command_fail("remove", &err);
	printf("server %u is removed%s\n", set.server,
	       share.pgs_replica + share.pgs_former ? ": its groups go to the others" : "");
	return COMMAND_DONE;
}

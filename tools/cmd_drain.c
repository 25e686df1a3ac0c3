/* SPDX-License-Identifier: Apache-2.0 */
/* cairn drain: the share of a chunk server goes to the others; it stays a source until they have
 * merged it. */
#include "tools/command.h"

#include <stdio.h>

#include "tools/server_set.h"

static const struct argp_option options[] = {
	{"undo", 'u', NULL, 0, "give it a share again", 0},
	{"force", 'f', NULL, 0, "even if too few servers are left to write to", 0},
	{"mds", 'm', "HOST:PORT", 0, "the metadata server", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct server_set *set = state->input;

	if (key != 'u')
		return server_set_option(key, text, state);
	set->state = SERVER_UP;
	return 0;
}

static void tell(const struct server_set *set, const struct server_share *share)
{
	if (set->state == SERVER_UP)
		printf("server %u takes a share again\n", set->server);
	else if (share->pgs_replica + share->pgs_former == 0)
		printf("server %u is drained and holds nothing that is needed: 'cairn remove %u' "
		       "forgets it\n",
		       set->server, set->server);
	else if (share->others < share->copies)
		printf("server %u is drained: %u other servers are left for %u copies, so data has "
		       "fewer from now on;\n"
		       "add a server, or take this one back: 'cairn drain --undo %u'\n",
		       set->server, share->others, share->copies, set->server);
	else
		printf("server %u is drained: %u other servers take its share; 'cairn heal' shows "
		       "how far that is,\n"
		       "then 'cairn remove %u' forgets it\n",
		       set->server, share->others, set->server);
}

int cmd_drain(int argc, char **argv)
{
	static const struct argp argp = {options,
					 parse_option,
					 "SERVER",
					 "Move the share of a chunk server to the others. It goes "
					 "on serving until they have merged what it "
					 "holds.",
					 NULL,
					 NULL,
					 NULL};
	struct server_set set = {.state = SERVER_DRAINED};
	struct server_share share;
	struct error err = {0};

	if (command_parse(&argp, argc, argv, &set) != 0)
		return COMMAND_USAGE;
	if (server_set_state(&set, &share, &err) < 0)
		return command_fail("drain", &err);
	tell(&set, &share);
	return COMMAND_DONE;
}

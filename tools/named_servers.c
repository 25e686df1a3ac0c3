/* SPDX-License-Identifier: Apache-2.0 */
/* Chunk servers that a command line names. */
#include "tools/named_servers.h"

#include <stdio.h>
#include <string.h>

#include "fs/placement/map.h"

bool named_servers_add(struct named_servers *n, const char *name)
{
	if (n->count == NAMED_SERVERS_MAX)
		return false;
	n->names[n->count++] = name;
	return true;
}

static bool is_called(const Wire__ServerStatus *server, const char *name)
{
	char number[16];

	snprintf(number, sizeof number, "%u", server->server);
	return strcmp(name, number) == 0 || strcmp(name, server->address) == 0;
}

static bool is_known(const struct status *s, const char *name)
{
	for (size_t i = 0; i < s->reply->n_servers; i++)
		if (is_called(s->reply->servers[i], name))
			return true;
	return false;
}

int named_servers_check(const struct named_servers *n, const struct status *s, struct error *err)
{
	for (uint32_t i = 0; i < n->count; i++)
		if (!is_known(s, n->names[i]))
			return error_say(err, -E_NOENT,
					 "there is no server '%s': see 'cairn servers'",
					 n->names[i]);
	return 0;
}

bool named_servers_has(const struct named_servers *n, const Wire__ServerStatus *server)
{
	for (uint32_t i = 0; i < n->count; i++)
		if (is_called(server, n->names[i]))
			return true;
	return n->count == 0 && server->state != SERVER_OUT && server->state != SERVER_REMOVED;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/server_set.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/text.h"
#include "fs/wire/msg.h"
#include "tools/admin.h"

#define SET_MS	     10000u
#define GROUPS_NAMED 6u
#define GROUPS_BYTES 64u

/* "3" or "cs3". -E_INVAL. */
static int parse_server(const char *text, server_no *out)
{
	uint64_t number;

	if (strncmp(text, "cs", 2) == 0)
		text += 2;
	if (text_parse_u64(text, &number) < 0 || number == 0 || number > UINT32_MAX)
		return -E_INVAL;
	*out = (server_no)number;
	return 0;
}

error_t server_set_option(int key, char *text, struct argp_state *state)
{
	struct server_set *set = state->input;

	switch (key) {
	case 'f':
		set->force = true;
		break;
	case 'm':
		set->mds = text;
		break;
	case ARGP_KEY_ARG:
		if (set->server || parse_server(text, &set->server) < 0)
			argp_error(state, "bad server '%s': a number, as in 'cairn servers'", text);
		break;
	case ARGP_KEY_END:
		if (!set->server)
			argp_error(state, "which server? See 'cairn servers'");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* "3, 17, 20, ...": the first groups that name the server so. */
static void name_groups(const struct map *map, server_no server, bool as_former,
			char out[GROUPS_BYTES])
{
	uint32_t named = 0;
	int n = 0;

	out[0] = '\0';
	for (uint32_t pg = 0; pg < PG_COUNT && named <= GROUPS_NAMED; pg++) {
		const struct pg_row *row = map_pg(map, (pg_no)pg);

		if (!(as_former ? pg_row_has_former(row, server) : pg_row_has(row, server)))
			continue;
		if (named == GROUPS_NAMED)
			n += snprintf(out + n, GROUPS_BYTES - (size_t)n, ", ...");
		else
			n += snprintf(out + n, GROUPS_BYTES - (size_t)n, "%s%u", named ? ", " : "",
				      pg);
		named++;
	}
}

static void look(const struct map *map, server_no server, struct server_share *out)
{
	const struct server_row *row = map_server(map, server);

	*out = (struct server_share){.was = row ? row->state : 0};
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		out->pgs_replica += pg_row_has(map_pg(map, (pg_no)pg), server);
		out->pgs_former += pg_row_has_former(map_pg(map, (pg_no)pg), server);
	}
	for (uint32_t i = 0; i < map_server_count(map); i++)
		out->others += map_server_at(map, i)->server != server &&
			       map_server_at(map, i)->state <= SERVER_DOWN;
}

static int refuse_remove(const struct server_set *set, const struct map *map,
			 const struct server_share *share, struct error *err)
{
	const char *what = "wait until 'cairn heal' says that nothing is to be healed";
	char groups[GROUPS_BYTES];

	name_groups(map, set->server, share->pgs_replica == 0, groups);
	if (share->pgs_replica > 0) {
		if (share->was <= SERVER_SUSPECT)
			what = "drain it, and wait until 'cairn heal' says that nothing is to be "
			       "healed";
		else if (share->was != SERVER_DRAINED)
			what = "start it and drain it; or --force if it is gone for good";
		return error_say(err, -E_BUSY,
				 "server %" PRIu32 " has a copy of %" PRIu32 " groups (%s): %s",
				 set->server, share->pgs_replica, groups, what);
	}
	if (share->was == SERVER_OUT)
		what = "start it; or --force if it is gone for good";
	return error_say(err, -E_BUSY,
			 "not all others have merged what server %" PRIu32 " holds of %" PRIu32
			 " groups (%s): %s",
			 set->server, share->pgs_former, groups, what);
}

static int refuse(const struct server_set *set, const struct map *map,
		  const struct server_share *share, struct error *err)
{
	if (set->state == SERVER_REMOVED)
		return refuse_remove(set, map, share, err);
	return error_say(err, -E_BUSY,
			 "too few servers would be left for writes (%" PRIu32
			 "): add one first, or "
			 "--force",
			 share->others);
}

/* The order was done, or refused as BUSY: what does the map say to that? */
static int look_after(const struct server_set *set, struct admin *a, bool is_refused,
		      struct server_share *out, struct error *err)
{
	struct map *map;
	int rc = map_create(&map);

	if (rc < 0)
		return error_set(err, rc, "cannot read the replica map");
	rc = admin_map(a, map, err);
	if (rc == 0) {
		look(map, set->server, out);
		out->copies = admin_hello(a) ? admin_hello(a)->copies : 0;
		rc = is_refused ? refuse(set, map, out, err) : 0;
	}
	map_destroy(map);
	return rc;
}

static int set_at(const struct server_set *set, struct admin *a, struct server_share *out,
		  struct error *err)
{
	Wire__ServerSet ask = WIRE__SERVER_SET__INIT;
	ProtobufCMessage *reply = NULL;
	int rc;

	ask.server = set->server;
	ask.state = set->state;
	ask.force = set->force;
	rc = admin_call(a, MSG_SERVER_SET, &ask.base, SET_MS, &reply, err);
	msg_free(reply);
	switch (-rc) {
	case 0:
	case E_BUSY:
		return look_after(set, a, rc < 0, out, err);
	case E_NOENT:
		return error_say(err, rc, "there is no server %" PRIu32, set->server);
	case E_PERM:
		return error_say(err, rc,
				 "server %" PRIu32
				 " was removed: its disks have to be formatted anew",
				 set->server);
	case E_INVAL:
		return error_say(err, rc, "server %" PRIu32 " is not drained", set->server);
	default:
		return rc;
	}
}

int server_set_state(const struct server_set *set, struct server_share *out, struct error *err)
{
	struct admin *a;
	char address[256];
	int rc = admin_find(set->mds, address, sizeof address, err);

	if (rc == 0)
		rc = admin_open(address, &a, err);
	if (rc < 0)
		return rc;
	rc = set_at(set, a, out, err);
	admin_close(a);
	return rc;
}

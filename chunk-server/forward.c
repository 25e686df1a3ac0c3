/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to the other chunk servers, made when one is first needed, at the address that the
 * map tells. Calls to one that is away end at once (fs/net/rpc.h). One that is there, but does not
 * get its work done, is left alone for a while: a disk that hangs then costs one slow put a second,
 * not every put.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "chunk-server/serve_internal.h"
#include "fs/base/text.h"

struct serve_peer {
	server_no server;
	struct rpc_peer *peer;
	char address[SERVER_ADDRESS_BYTES_MAX];
	uint64_t paused_until_ms;
	struct serve_peer *prev, *next;
};

static struct serve_peer *find(struct cs_server *s, server_no server)
{
	struct serve_peer *p;

	DL_FOREACH (s->peers, p) {
		if (p->server == server)
			return p;
	}
	return NULL;
}

static struct serve_peer *add(struct cs_server *s, server_no server)
{
	struct serve_peer *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->server = server;
	DL_APPEND(s->peers, p);
	return p;
}

/* The map may tell a new address after a server moved. */
static bool connect_to(struct cs_server *s, struct serve_peer *p, const char *address)
{
	if (p->peer != NULL && strcmp(p->address, address) == 0)
		return true;
	if (p->peer != NULL)
		rpc_peer_destroy(p->peer);
	p->peer = NULL;
	if (!text_copy(p->address, sizeof(p->address), address))
		return false;
	return rpc_peer_create(s->rpc, p->address, &p->peer) == 0;
}

static struct rpc_peer *peer_of(struct cs_server *s, const struct server_row *row)
{
	server_no server = row->server;

	if (s->is_stopping || server == s->number)
		return NULL;
	struct serve_peer *p = find(s, server);
	if (p == NULL)
		p = add(s, server); /* as many as the map has servers: bounded */
	if (p == NULL || loop_now_ms(s->options.loop) < p->paused_until_ms)
		return NULL;
	return connect_to(s, p, row->address) ? p->peer : NULL;
}

struct rpc_peer *cs_forward_peer(struct cs_server *s, server_no server)
{
	const struct server_row *row = map_server(s->map, server);

	return row != NULL && row->state == SERVER_UP ? peer_of(s, row) : NULL;
}

struct rpc_peer *cs_forward_source(struct cs_server *s, server_no server)
{
	const struct server_row *row = map_server(s->map, server);
	bool may_answer = row != NULL && (row->state == SERVER_UP || row->state == SERVER_SUSPECT ||
					  row->state == SERVER_DRAINED);

	return may_answer ? peer_of(s, row) : NULL;
}

void cs_forward_note(struct cs_server *s, server_no server, int rc)
{
	struct serve_peer *p = find(s, server);

	if (p == NULL)
		return;
	if (rc == -E_TIMEDOUT && p->peer != NULL && !rpc_peer_is_away(p->peer))
		p->paused_until_ms = loop_now_ms(s->options.loop) + FORWARD_PAUSE_MS;
	else
		p->paused_until_ms = 0;
}

void cs_forward_finish(struct cs_server *s)
{
	struct serve_peer *p, *next;

	DL_FOREACH_SAFE (s->peers, p, next) {
		if (p->peer != NULL)
			rpc_peer_destroy(p->peer);
		DL_DELETE(s->peers, p);
		free(p);
	}
}

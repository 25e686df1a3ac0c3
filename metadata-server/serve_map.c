/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAP_GET: the replica map in pages that fit one message. Server rows are spread over the pages by
 * their place in the list, so that a page is bounded whatever the number of servers.
 */
#include "metadata-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES_MAX	(MESSAGE_BYTES_MAX - 2048u)
#define ROW_OVERHEAD	4u	/* tag and length in the packed message */

struct page {
	Wire__MapReply message;
	ProtobufCBinaryData servers[SERVERS_MAX];
	ProtobufCBinaryData pgs[PG_COUNT];
	uint8_t bytes[PAGE_BYTES_MAX];
	size_t used;		/* of bytes */
	size_t packed;
};

static bool page_add(struct page *page, ProtobufCBinaryData *list, size_t *count, const void *row,
		     size_t len)
{
	if (page->packed + len + ROW_OVERHEAD > PAGE_BYTES_MAX)
		return false;
	memcpy(page->bytes + page->used, row, len);
	list[*count].data = page->bytes + page->used;
	list[*count].len = len;
	(*count)++;
	page->used += len;
	page->packed += len + ROW_OVERHEAD;
	return true;
}

static bool add_server(struct page *page, const struct server_row *server)
{
	uint8_t row[SERVER_ROW_BYTES_MAX];
	size_t len = server_row_encode(server, row);

	return page_add(page, page->servers, &page->message.n_servers, row, len);
}

static bool add_pg(struct page *page, pg_no pg, const struct pg_row *pg_row)
{
	uint8_t row[2 + PG_ROW_BYTES_MAX];

	if (pg_row->epoch == 0)
		return true; /* not placed yet: nothing to tell, and no row that would decode */
	row[0] = (uint8_t)pg;
	row[1] = (uint8_t)(pg >> 8);
	return page_add(page, page->pgs, &page->message.n_pgs, row,
			2 + pg_row_encode(pg_row, row + 2));
}

/* Server `index` of `count` goes before this PG. */
static uint32_t server_pg(uint32_t index, uint32_t count)
{
	return (uint32_t)((uint64_t)index * PG_COUNT / count);
}

/* Fill the page from PG `first` on; returns the PG that the next page starts with. */
static uint32_t page_fill(struct page *page, const struct map *map, uint32_t first)
{
	uint32_t server_count = map_server_count(map), server = 0, pg;

	while (server < server_count && server_pg(server, server_count) < first)
		server++;
	for (pg = first; pg < PG_COUNT; pg++) {
		for (; server < server_count && server_pg(server, server_count) <= pg; server++)
			if (!add_server(page, map_server_at(map, server)))
				return pg;
		if (!add_pg(page, (pg_no)pg, map_pg(map, (pg_no)pg)))
			return pg;
	}
	return PG_COUNT;
}

void ms_serve_reply_map(struct ms_server *s, struct ms_pending *p, const Wire__MapGet *ask)
{
	const struct map *map = ms_state_map(s->state);
	struct page *page;

	if (ask->first_pg >= PG_COUNT) {
		p->rc = -E_INVAL;
		return;
	}
	page = calloc(1, sizeof(*page));
	if (!page) {
		p->rc = -E_NOMEM;
		return;
	}
	p->storage = page;
	p->message = &page->message.base;
	wire__map_reply__init(&page->message);
	page->message.version = map_version(map);
	page->message.collection = ms_collection_epoch(s->state);
	page->message.servers = page->servers;
	page->message.pgs = page->pgs;
	page->message.next_pg = PG_COUNT;
	if (ask->since == 0 || ask->since != map_version(map))
		page->message.next_pg = page_fill(page, map, ask->first_pg);
}

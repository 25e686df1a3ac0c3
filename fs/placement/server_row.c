/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of server rows; the format is in map.h. Texts are printable ASCII without spaces, so
 * that they can be shown and parsed again wherever they go (I8).
 */
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/placement/map.h"

static const char *const state_names[] = {
	[SERVER_UP] = "up",	[SERVER_SUSPECT] = "suspect", [SERVER_DOWN] = "down",
	[SERVER_OUT] = "out",	[SERVER_DRAINED] = "drained", [SERVER_REMOVED] = "removed",
};

const char *server_state_name(enum server_state state)
{
	if ((unsigned)state >= ARRAY_COUNT(state_names) || state_names[state] == NULL)
		return "unknown";
	return state_names[state];
}

static void text_write(struct wr *w, const char *text, size_t capacity)
{
	size_t len = strnlen(text, capacity);

	ASSERT(len < capacity);
	wr_u16(w, (uint16_t)len);
	wr_bytes(w, text, len);
}

static bool text_read(struct rd *r, char *out, size_t capacity)
{
	size_t len = rd_u16(r);
	const uint8_t *text = rd_view(r, len);

	if (text == NULL || len >= capacity)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

size_t server_row_encode(const struct server_row *row, uint8_t out[SERVER_ROW_BYTES_MAX])
{
	struct wr w = wr_init(out, SERVER_ROW_BYTES_MAX);

	wr_u32(&w, row->server);
	wr_u8(&w, (uint8_t)row->state);
	wr_u8(&w, row->disk_count);
	wr_zeros(&w, 2);
	wr_u64(&w, row->weight_bytes);
	wr_u64(&w, row->boot_id);
	wr_bytes(&w, row->uuid, sizeof row->uuid);
	text_write(&w, row->address, sizeof row->address);
	text_write(&w, row->host, sizeof row->host);
	text_write(&w, row->rack, sizeof row->rack);
	ASSERT(wr_ok(&w));
	return wr_len(&w);
}

int server_row_decode(const void *in, size_t len, struct server_row *out)
{
	struct rd r = rd_init(in, len);

	*out = (struct server_row){ .server = rd_u32(&r) };
	out->state = (enum server_state)rd_u8(&r);
	out->disk_count = rd_u8(&r);
	rd_zeros(&r, 2);
	out->weight_bytes = rd_u64(&r);
	out->boot_id = rd_u64(&r);
	rd_bytes(&r, out->uuid, sizeof out->uuid);
	if (!rd_ok(&r) || out->server == 0 || out->state < SERVER_UP ||
	    out->state > SERVER_REMOVED || out->disk_count > DISKS_MAX)
		return -E_MALFORMED;
	if (!text_read(&r, out->address, sizeof out->address) ||
	    !text_read(&r, out->host, sizeof out->host) ||
	    !text_read(&r, out->rack, sizeof out->rack))
		return -E_MALFORMED;
	return rd_done(&r) ? 0 : -E_MALFORMED;
}

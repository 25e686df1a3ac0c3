/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata server hands on what chunk servers say of their disks; here it is read (I8). */
#include "tools/media_status.h"

#include <stdio.h>

#include "fs/base/limits.h"
#include "fs/base/text.h"

Wire__MediaStatus *media_status_read(const Wire__ServerStatus *server)
{
	if (server->media.len == 0 || server->media.len > MEDIA_STATUS_BYTES_MAX)
		return NULL;
	return wire__media_status__unpack(NULL, server->media.len, server->media.data);
}

void media_status_free(Wire__MediaStatus *m)
{
	if (m != NULL)
		wire__media_status__free_unpacked(m, NULL);
}

/* Any bytes may be in a path; JSON takes text. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);

	return json != NULL ? json : json_string("?");
}

static json_t *disk_json(const Wire__DiskStatus *d)
{
	return json_pack("{s:o, s:o, s:o, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:I}", "path",
			 text_json(d->path), "kind", text_json(d->kind), "device",
			 text_json(d->device), "tier", (json_int_t)d->tier, "failed", d->failed,
			 "bytes_total", (json_int_t)d->bytes_total, "bytes_free",
			 (json_int_t)d->bytes_free, "bytes_stored", (json_int_t)d->bytes_stored,
			 "read_bytes_per_s", (json_int_t)d->read_bytes_per_s,
			 "write_bytes_per_s", (json_int_t)d->write_bytes_per_s, "cold_codec",
			 text_json(d->cold_codec), "queue_depth", (json_int_t)d->queue_depth);
}

static json_t *codec_json(const Wire__CodecSpeed *c)
{
	return json_pack("{s:o, s:I, s:I, s:f}", "name", text_json(c->name), "encode_bytes_per_s",
			 (json_int_t)c->encode_bytes_per_s, "decode_bytes_per_s",
			 (json_int_t)c->decode_bytes_per_s, "ratio", c->ratio_permille / 1000.0);
}

json_t *media_status_json(const Wire__MediaStatus *m)
{
	json_t *disks = json_array(), *codecs = json_array();

	for (size_t i = 0; m != NULL && i < m->n_disks; i++)
		json_array_append_new(disks, disk_json(m->disks[i]));
	for (size_t i = 0; m != NULL && i < m->n_codecs; i++)
		json_array_append_new(codecs, codec_json(m->codecs[i]));
	return json_pack("{s:o, s:o, s:I, s:b, s:{s:I, s:I, s:I, s:I, s:I}}", "disks", disks,
			 "codecs", codecs, "cores", m != NULL ? (json_int_t)m->cores : 0, "tiers",
			 m != NULL && m->tiers, "moved", "blocks_down",
			 m != NULL ? (json_int_t)m->blocks_down : 0, "bytes_down",
			 m != NULL ? (json_int_t)m->bytes_down : 0, "blocks_up",
			 m != NULL ? (json_int_t)m->blocks_up : 0, "bytes_up",
			 m != NULL ? (json_int_t)m->bytes_up : 0, "bytes_per_s",
			 m != NULL ? (json_int_t)m->bytes_per_s : 0);
}

static void print_disk(const Wire__MediaStatus *m, const Wire__DiskStatus *d)
{
	char stored[TEXT_BYTES_HUMAN], left[TEXT_BYTES_HUMAN], rate[TEXT_BYTES_HUMAN];

	printf("       %-32s %-8s", d->path, d->kind);
	if (m->tiers)
		printf(" tier %-2u", d->tier);
	printf(" %9s stored %9s free", text_bytes_human(stored, d->bytes_stored),
	       text_bytes_human(left, d->bytes_free));
	if (d->read_bytes_per_s)
		printf("  reads %s/s, cold blocks: %s", text_bytes_human(rate, d->read_bytes_per_s),
		       d->cold_codec);
	printf("%s\n", d->failed ? "  FAILED" : "");
}

void media_status_print_disks(const Wire__MediaStatus *m)
{
	for (size_t i = 0; m != NULL && i < m->n_disks; i++)
		print_disk(m, m->disks[i]);
}

void media_status_print_tiers(const Wire__MediaStatus *m, uint32_t server)
{
	char down[TEXT_BYTES_HUMAN], up[TEXT_BYTES_HUMAN], rate[TEXT_BYTES_HUMAN];

	if (m == NULL || !m->tiers)
		return;
	printf("  server %-3u tiers: %s moved to slower disks, %s to faster", server,
	       text_bytes_human(down, m->bytes_down), text_bytes_human(up, m->bytes_up));
	if (m->bytes_per_s)
		printf(", now at %s/s", text_bytes_human(rate, m->bytes_per_s));
	putchar('\n');
	for (size_t i = 0; i < m->n_disks; i++) {
		const Wire__DiskStatus *d = m->disks[i];
		printf("    tier %-2u %-32s %-8s %3u%% full\n", d->tier, d->path, d->kind,
		       d->bytes_total ? (unsigned)((d->bytes_total - MIN_OF(d->bytes_free,
									    d->bytes_total)) /
						   (d->bytes_total / 100 + 1))
				      : 0);
	}
}

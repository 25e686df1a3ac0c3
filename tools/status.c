/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/status.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fs/base/text.h"
#include "fs/codec/codec.h"
#include "fs/placement/map.h"
#include "tools/admin.h"
#include "tools/command.h"
#include "tools/media_status.h"

#define NS_PER_S 1000000000ull

#define STATUS_MS 5000u

static double ratio(uint64_t plain, uint64_t stored)
{
	return plain && stored ? (double)plain / (double)stored : 1.0;
}

static void say_heal(struct status *s)
{
	const Wire__StatusReply *r = s->reply;
	unsigned long long blocks = r->heal_pending_blocks, owed = r->owed;
	char rate[TEXT_BYTES_HUMAN], left[64] = "", parts[2][96] = {"", ""};

	if (blocks)
		snprintf(parts[0], sizeof parts[0], "%llu blocks to go", blocks);
	if (owed)
		snprintf(parts[1], sizeof parts[1],
			 "%llu blocks owed to servers that missed or lost them", owed);
	if (r->heal_eta_s)
		snprintf(left, sizeof left, " at %s/s, about %llu s",
			 text_bytes_human(rate, r->heal_bytes_per_s),
			 (unsigned long long)r->heal_eta_s);
	else if (owed && s->servers_up < s->servers_known)
		snprintf(left, sizeof left, "; who is silent gets them when it is back");
	snprintf(s->heal_text, sizeof s->heal_text, "%s%s%s%s", parts[0],
		 blocks && owed ? ", " : "", parts[1], left);
	if (!blocks && !owed)
		snprintf(s->heal_text, sizeof s->heal_text, "their servers compare what they hold");
}

bool status_is_heard(const Wire__ServerStatus *server)
{
	return server->disks + server->disks_failed > 0;
}

static void derive(struct status *s)
{
	const Wire__StatusReply *r = s->reply;
	uint64_t plain = 0, plain_of_replicas = 0, groups = 0;

	for (size_t i = 0; i < r->n_servers; i++) {
		const Wire__ServerStatus *server = r->servers[i];

		if (server->state == SERVER_REMOVED)
			continue;
		s->servers_known++;
		s->servers_unheard += !status_is_heard(server);
		s->blocks += server->blocks;
		s->bytes_stored += server->bytes_stored;
		plain += server->bytes_plain;
		if (server->pgs > 0) {
			plain_of_replicas += server->bytes_plain;
			groups += server->pgs;
		}
		if (server->state <= SERVER_SUSPECT) {
			s->bytes_free += server->bytes_free;
			s->bytes_total += server->bytes_total;
		}
		s->servers_up += server->state == SERVER_UP;
	}
	/*
	 * As many copies as there are replicas now: a server that is out, or gives its share away,
	 * adds none.
	 */
	if (groups > 0)
		s->bytes_unique = (uint64_t)((double)plain_of_replicas /
					     ((double)groups / (double)r->pgs_total));
	s->is_healthy = r->pgs_total > 0 && r->pgs_clean == r->pgs_total &&
			r->heal_pending_blocks == 0 && r->owed == 0 && !r->recovering;
	/*
	 * Logical bytes hold inline files too, which no chunk server stores: then dedup may show
	 * above 1.
	 */
	s->ratio_dedup = ratio(r->bytes_logical, s->bytes_unique);
	s->ratio_codec = ratio(plain, s->bytes_stored);
	s->ratio_total = s->ratio_dedup * s->ratio_codec;
	say_heal(s);
}

int status_get(const char *mds, struct status *out, struct error *err)
{
	Wire__Status ask = WIRE__STATUS__INIT;
	ProtobufCMessage *reply = NULL;
	struct admin *a;
	char address[256];
	int rc = admin_find(mds, address, sizeof address, err);

	memset(out, 0, sizeof *out);
	if (rc == 0)
		rc = admin_open(address, &a, err);
	if (rc < 0)
		return rc;
	rc = admin_call(a, MSG_STATUS, &ask.base, STATUS_MS, &reply, err);
	if (rc == 0)
		out->hash = (enum hash_kind)admin_hello(a)->hash;
	admin_close(a);
	if (rc < 0)
		return rc;
	out->reply = (Wire__StatusReply *)(void *)reply;
	derive(out);
	return 0;
}

void status_finish(struct status *s)
{
	msg_free(s->reply ? &s->reply->base : NULL);
	s->reply = NULL;
}

json_t *status_reencode_json(const Wire__ReencodeStatus *r)
{
	return json_pack(
		"{s:b, s:b, s:b, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"running", (int)r->running, "all", (int)r->all, "wants", (int)r->wants, "turn",
		(int)r->turn, "paused", (int)r->paused, "wrong", (int)r->wrong, "pass",
		(json_int_t)r->pass, "bytes_done", (json_int_t)r->bytes_done, "bytes_total",
		(json_int_t)r->bytes_total, "blocks", (json_int_t)r->blocks, "bytes_before",
		(json_int_t)r->bytes_before, "bytes_after", (json_int_t)r->bytes_after,
		"bytes_per_s", (json_int_t)r->bytes_per_s, "started",
		(json_int_t)(r->started_wall_ns / NS_PER_S), "finished",
		(json_int_t)(r->finished_wall_ns / NS_PER_S));
}

/* Stored bytes by the name of their codec. */
static json_t *codecs_json(const uint64_t *bytes, size_t count)
{
	json_t *codecs = json_object();

	for (unsigned i = 0; i < count; i++)
		if (codec_is_known(i))
			json_object_set_new(codecs, codec_name((enum codec)i),
					    json_integer((json_int_t)bytes[i]));
	return codecs;
}

static json_t *server_json(const Wire__ServerStatus *s)
{
	char name[32];

	snprintf(name, sizeof name, "cs%u", s->server);
	Wire__MediaStatus *media = media_status_read(s);
	json_t *media_json = media_status_json(media);
	media_status_free(media);
	json_t *json = json_pack(
		"{s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
		"s:I, s:I, s:I, s:I,"
		" s:I, s:I, s:o}",
		"name", s->name && *s->name ? s->name : name, "server", (json_int_t)s->server,
		"state", server_state_name((enum server_state)s->state), "address", s->address,
		"host", s->host, "rack", s->rack, "blocks", (json_int_t)s->blocks, "bytes_stored",
		(json_int_t)s->bytes_stored, "bytes_free", (json_int_t)s->bytes_free, "bytes_total",
		(json_int_t)s->bytes_total, "heartbeat_age_ms", (json_int_t)s->heartbeat_age_ms,
		"pgs", (json_int_t)s->pgs, "pgs_former", (json_int_t)s->pgs_former, "pgs_waiting",
		(json_int_t)s->pgs_waiting, "disks", (json_int_t)s->disks, "disks_failed",
		(json_int_t)s->disks_failed, "heal_pending_blocks",
		(json_int_t)s->heal_pending_blocks, "heal_bytes_per_s",
		(json_int_t)s->heal_bytes_per_s, "trash_bytes", (json_int_t)s->trash_bytes,
		"dead_bytes", (json_int_t)s->dead_bytes, "damaged", (json_int_t)s->damaged, "owed",
		(json_int_t)s->owed, "media", media_json);
	json_object_set_new(json, "codecs", codecs_json(s->codec_bytes, s->n_codec_bytes));
	if (s->reencode)
		json_object_set_new(json, "reencode", status_reencode_json(s->reencode));
	return json;
}

static json_t *servers_json(const Wire__StatusReply *r)
{
	json_t *servers = json_array();

	for (size_t i = 0; i < r->n_servers; i++)
		json_array_append_new(servers, server_json(r->servers[i]));
	return servers;
}

static json_t *warnings_json(const Wire__StatusReply *r)
{
	json_t *warnings = json_array();

	for (size_t i = 0; i < r->n_warnings; i++)
		json_array_append_new(warnings,
				      json_pack("{s:s, s:s}", "code", r->warnings[i]->code, "text",
						r->warnings[i]->text));
	return warnings;
}

static json_t *pgs_json(const Wire__StatusReply *r)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "total", (json_int_t)r->pgs_total,
			 "clean", (json_int_t)r->pgs_clean, "degraded", (json_int_t)r->pgs_degraded,
			 "lost", (json_int_t)r->pgs_lost, "healing", (json_int_t)r->pgs_healing,
			 "waiting", (json_int_t)r->pgs_waiting, "few", (json_int_t)r->pgs_few);
}

static json_t *heal_json(const Wire__StatusReply *r)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "pending_blocks",
			 (json_int_t)r->heal_pending_blocks, "bytes_per_s",
			 (json_int_t)r->heal_bytes_per_s, "eta_s", (json_int_t)r->heal_eta_s,
			 "owed", (json_int_t)r->owed);
}

static json_t *metadata_json(const Wire__StatusReply *r)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "rows_bytes", (json_int_t)r->rows_bytes,
			 "journal_bytes", (json_int_t)r->journal_bytes, "sessions",
			 (json_int_t)r->sessions, "leases", (json_int_t)r->leases);
}

static json_t *gc_json(const Wire__StatusReply *r)
{
	const Wire__GcStatus *gc = r->gc;

	if (!gc)
		return json_object();
	return json_pack("{s:b, s:I, s:I, s:I, s:s}", "running", gc->running, "cycles",
			 (json_int_t)gc->cycles, "failed", (json_int_t)gc->failed, "last_finished",
			 (json_int_t)(gc->finished_wall_ns / 1000000000u), "last", gc->last_text);
}

json_t *status_json(const struct status *s)
{
	const Wire__StatusReply *r = s->reply;

	json_t *json = json_pack(
		"{s:b, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:{s:f, s:f, s:f}, s:{s:I, s:I}, s:I, "
		"s:I, s:I, s:I, s:I,"
		" s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}",
		"healthy", s->is_healthy, "recovering", (int)r->recovering, "writes_wait",
		(int)r->writes_wait, "warnings", warnings_json(r), "servers", servers_json(r),
		"pgs", pgs_json(r), "heal", heal_json(r), "metadata", metadata_json(r), "ratio",
		"dedup", s->ratio_dedup, "codec", s->ratio_codec, "total", s->ratio_total, "trash",
		"blocks", (json_int_t)r->blocks_trash, "bytes", (json_int_t)r->bytes_stored_trash,
		"metadata_copies", (json_int_t)r->metadata_copies, "files", (json_int_t)r->files,
		"directories", (json_int_t)r->directories, "bytes_logical",
		(json_int_t)r->bytes_logical, "bytes_unique", (json_int_t)s->bytes_unique,
		"bytes_stored", (json_int_t)s->bytes_stored, "bytes_free",
		(json_int_t)s->bytes_free, "bytes_dead", (json_int_t)r->bytes_dead, "collection",
		(json_int_t)r->collection, "copies", (json_int_t)r->copies, "min_copies",
		(json_int_t)r->min_copies, "parked", (json_int_t)r->parked, "version", r->version);
	if (json) {
		json_object_set_new(json, "gc", gc_json(r));
		json_object_set_new(json, "codecs",
				    codecs_json(r->codec_bytes, r->n_codec_bytes));
		json_object_set_new(json, "reencode_server",
				    json_integer((json_int_t)r->reencode_server));
		json_object_set_new(json, "hash", json_string(block_id_hash_name(s->hash)));
		json_object_set_new(json, "locks", json_integer((json_int_t)r->locks));
		json_object_set_new(json, "lock_waits", json_integer((json_int_t)r->lock_waits));
		json_object_set_new(json, "deleted",
				    json_pack("{s:I, s:I}", "files",
					      (json_int_t)r->deleted_files, "bytes",
					      (json_int_t)r->deleted_bytes));
	}
	return json;
}

bool status_arguments_parse(int argc, char **argv, const char *doc, struct command_target *out)
{
	const struct argp argp = {NULL, NULL, "", doc, command_target_options, NULL, NULL};

	memset(out, 0, sizeof *out);
	return command_parse(&argp, argc, argv, out) == 0;
}

int status_print_json(json_t *json)
{
	if (!json ||
	    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(6)) != 0)
		return COMMAND_FAILED;
	putchar('\n');
	json_decref(json);
	return COMMAND_DONE;
}

const char *status_when(char out[STATUS_WHEN_BYTES], uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_S);
	struct tm tm;

	if (wall_ns == 0 || !localtime_r(&seconds, &tm) ||
	    !strftime(out, STATUS_WHEN_BYTES, "%F %T", &tm))
		snprintf(out, STATUS_WHEN_BYTES, "never");
	return out;
}

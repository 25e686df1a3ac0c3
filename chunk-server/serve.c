/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a chunk server, and where its requests go. */
#include "chunk-server/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chunk-server/format.h"
#include "chunk-server/serve_internal.h"
#include "fs/base/log.h"

#define LOG_MODULE "server"

#define STOP_POLL_MS 10u
#define STOP_MS_MAX  10000u
/* Debts that cannot be noted come in swarms, and each number told degrades every group of ours. */
#define CONTENT_PAUSE_MS 5000u
#define COLD_AFTER_MS	 (7u * 24 * 3600 * 1000)
#define HOT_USES	 4u /* within a day of that week, or twice as often the day before */

/* --- requests ---- */

static void on_request(void *arg, struct rpc_request *req)
{
	struct cs_server *s = arg;

	if (s->is_stopping) {
		rpc_answer(req, -E_SHUTDOWN, NULL, NULL);
		return;
	}
	switch (req->header.type) {
	case MSG_PUT:
		cs_serve_put(s, req);
		break;
	case MSG_HAVE:
		cs_serve_have(s, req);
		break;
	case MSG_SYNC:
		cs_serve_sync(s, req);
		break;
	case MSG_GET:
		cs_serve_get(s, req);
		break;
	case MSG_WHERE:
		cs_serve_where(s, req);
		break;
	case MSG_SIZES:
		cs_serve_sizes(s, req);
		break;
	case MSG_HEAL_DIGEST:
	case MSG_HEAL_LIST:
		cs_serve_heal(s, req);
		break;
	case MSG_COLLECT_BEGIN:
	case MSG_COLLECT_MARK:
	case MSG_COLLECT_SWEEP:
	case MSG_COLLECT_END:
		cs_collect_serve(s, req);
		break;
	case MSG_META_PUT:
	case MSG_META_LIST:
	case MSG_META_GET:
		cs_meta_serve(s, req);
		break;
	case MSG_CHECK:
		cs_serve_check(s, req);
		break;
	case MSG_SCRUB:
		cs_scrub_serve(s, req);
		break;
	case MSG_REENCODE:
		cs_reencode_serve(s, req);
		break;
	default:
		rpc_answer(req, -E_NOSYS, NULL, NULL);
	}
}

/* --- what may be missing ---- */

int cs_serve_lost(struct cs_server *s, const char *what)
{
	uint64_t fresh = s->content.number;

	/* One that was not told yet stands for this loss, too. */
	if (fresh != s->content_told && s->content.is_stored)
		return 0;
	while (fresh == 0 || fresh == s->content_told)
		loop_random(s->options.loop, &fresh, sizeof(fresh));
	int rc = cs_content_change(&s->content, fresh);
	log_warn("%s: the groups of this server will be compared%s%s", what,
		 rc < 0 ? "; cannot note it: " : "", rc < 0 ? error_text(rc) : "");
	return rc;
}

uint64_t cs_serve_tell_content(struct cs_server *s)
{
	uint64_t now = loop_now_ms(s->options.loop);

	if (s->content.number != s->content_told && now >= s->content_tell_ms) {
		s->content_told = s->content.number;
		s->content_tell_ms = now + CONTENT_PAUSE_MS;
	}
	return s->content_told;
}

/* The comparison covers whatever the log held. */
static int owed_failed(void *arg)
{
	struct cs_server *s = arg;
	int rc = cs_serve_lost(s, "the log of what is owed failed");

	if (rc == 0) {
		s->content_tell_ms = 0;
		cs_owed_restart(s->owed);
	}
	return rc;
}

/* A disk was given up: what it had not synced is lost, so nobody may believe in old generations
 * (I4). */
static void disk_failed(void *arg, int rc)
{
	struct cs_server *s = arg;

	(void)rc;
	/* If no disk can note it, the metadata server still hears it at once. */
	(void)!cs_serve_lost(s, "a disk failed");
	s->content_tell_ms = 0;
	loop_random(s->options.loop, &s->boot_id, sizeof(s->boot_id));
	if (s->boot_id == 0)
		s->boot_id = 1;
	if (s->heal != NULL)
		cs_heal_forget(s);
	if (s->heartbeat != NULL)
		cs_heartbeat_rejoin(s);
}

/* Compaction met a record that does not check. What cannot be reported now it meets again. */
static void block_damaged(void *arg, struct cs_store *store, const struct block_id *id,
			  const struct cs_place *place)
{
	(void)!cs_damage_report(arg, store, id, place);
}

/* --- starting ---- */

static char *copy_or(const char *text, const char *fallback)
{
	return strdup(text != NULL && text[0] != '\0' ? text : fallback);
}

static int take_options(struct cs_server *s, const struct cs_server_options *options,
			struct error *err)
{
	s->options = *options;
	s->disks_missing = options->disks_missing;
	s->boot_id = options->boot_id;
	s->name = copy_or(options->name, "cs");
	s->host = copy_or(options->host, s->name != NULL ? s->name : "cs");
	s->rack = copy_or(options->rack, "");
	s->mds = strdup(options->mds);
	if (s->name == NULL || s->host == NULL || s->rack == NULL || s->mds == NULL)
		return error_set(err, -E_NOMEM, "cannot start");
	if (strlen(s->host) >= SERVER_DOMAIN_BYTES_MAX ||
	    strlen(s->rack) >= SERVER_DOMAIN_BYTES_MAX)
		return error_say(err, -E_INVAL, "names of host and rack have at most %u bytes",
				 SERVER_DOMAIN_BYTES_MAX - 1);
	return 0;
}

/* --- disks ---- */

bool cs_server_can_leave_out(int rc)
{
	/*
	 * Another cluster's or server's, served by another process, a setting: nobody's disk
	 * failed.
	 */
	return rc != -E_WRONG_CLUSTER && rc != -E_INVAL && rc != -E_BUSY && rc != -E_NOMEM;
}

bool cs_server_uses(const struct cs_server *s, const struct disk *disk)
{
	for (uint32_t i = 0; i < s->options.disk_count; i++) {
		if (s->options.disks[i].disk == disk)
			return true;
	}
	return false;
}

/*
 * 0: the server goes on without this disk, and the next one has its index. Else what is wrong with
 * it.
 */
static int leave_out(struct cs_server *s, uint32_t index, struct error *err)
{
	struct cs_server_options *o = &s->options;
	const char *name = o->disks[index].name;
	char number[16];

	if (o->disk_count == 1 || !cs_server_can_leave_out(err->code))
		return err->code;
	(void)snprintf(number, sizeof(number), "%u", index);
	log_error("disk '%s' failed, starting without it: %s", name != NULL ? name : number,
		  err->text);
	cs_store_drop(s->stores[index]);
	o->disk_count--;
	s->disks_missing++;
	for (uint32_t i = index; i < o->disk_count; i++) {
		o->disks[i] = o->disks[i + 1];
		s->stores[i] = s->stores[i + 1];
		memcpy(s->content.uuids[i], s->content.uuids[i + 1], UUID_BYTES);
	}
	s->stores[o->disk_count] = NULL;
	*err = (struct error){0};
	return 0;
}

/* All disks are of one server of one cluster. */
static int check_super(const struct super *super, const struct super *first, struct error *err)
{
	if (memcmp(super->cluster, first->cluster, sizeof(super->cluster)) != 0)
		return error_say(err, -E_WRONG_CLUSTER, "disks are of several clusters");
	if (memcmp(super->server, first->server, sizeof(super->server)) != 0)
		return error_say(err, -E_INVAL, "disks are of several chunk servers");
	return 0;
}

/* Whose they are, before anything is written to any. */
static int read_supers(struct cs_server *s, struct super *first, struct error *err)
{
	struct super super;

	for (uint32_t i = 0; i < s->options.disk_count;) {
		int rc = cs_format_read(s->options.disks[i].disk, &super, err);
		if (rc == 0 && i == 0)
			*first = super;
		if (rc == 0)
			rc = check_super(&super, first, err);
		if (rc < 0)
			rc = leave_out(s, i, err);
		else
			memcpy(s->content.uuids[i++], super.directory, UUID_BYTES);
		if (rc < 0)
			return rc;
	}
	memcpy(s->cluster, first->cluster, UUID_BYTES);
	memcpy(s->uuid, first->server, UUID_BYTES);
	s->hash = first->hash;
	s->min_copies = first->min_copies;
	return 0;
}

static int open_store(struct cs_server *s, uint32_t index, struct error *err)
{
	const struct cs_server_options *o = &s->options;
	struct cs_store_options options = {
		.loop = o->loop,
		.disk = o->disks[index].disk,
		.index = o->disks[index].index,
		.index_is_trusted = o->disks[index].index_is_trusted,
		.tail_is_durable = o->disks[index].was_closed,
		.pool = o->pool,
		.hash = s->hash,
		.segment_bytes = o->segment_bytes,
		.sync_ms = o->sync_ms,
		.sync_bytes = o->sync_bytes,
		.full_percent = o->full_percent,
		.media = o->disks[index].media.kind,
		.on_failed = disk_failed,
		.on_damaged = block_damaged,
		.arg = s,
	};

	memcpy(options.cluster, s->cluster, UUID_BYTES);
	memcpy(options.disk_uuid, s->content.uuids[index], UUID_BYTES);
	return cs_store_open(&options, &s->stores[index], err);
}

static int open_stores(struct cs_server *s, struct error *err)
{
	for (uint32_t i = 0; i < s->options.disk_count;) {
		int rc = open_store(s, i, err);
		if (rc < 0)
			rc = leave_out(s, i, err);
		else
			i++;
		if (rc < 0)
			return rc;
	}
	return 0;
}

/*
 * On the first disk that takes it. What a log elsewhere says is covered: another set, another
 * content.
 */
static int open_owed(struct cs_server *s, struct error *err)
{
	struct cs_server_options *o = &s->options;
	int rc;

	do {
		struct disk *disk = o->disks[0].disk;
		rc = o->open_owed != NULL ? o->open_owed(o->open_owed_arg, disk, &o->owed, err) : 0;
		if (rc == 0)
			rc = cs_owed_open(o->loop, disk, o->owed, &s->owed, err);
		if (rc < 0)
			rc = leave_out(s, 0, err);
	} while (rc == 0 && s->owed == NULL);
	return rc;
}

/* Can everything that was answered for still be here? */
static int open_content(struct cs_server *s, struct error *err)
{
	bool is_whole = cs_owed_was_whole(s->owed);
	uint64_t fresh;

	cs_fence_open(s);
	s->content.count = s->options.disk_count;
	for (uint32_t i = 0; i < s->content.count; i++)
		is_whole = is_whole && cs_store_was_whole(s->stores[i]);
	do {
		loop_random(s->options.loop, &fresh, sizeof(fresh));
	} while (fresh == 0);
	int rc = cs_content_open(&s->content, is_whole, fresh);
	s->content_told = s->content.number;
	return rc < 0 ? error_set(err, rc, "cannot store the content number") : 0;
}

static int open_disks(struct cs_server *s, struct error *err)
{
	struct cs_disks_options options = {.loop = s->options.loop};
	struct super first = {0};
	int rc = read_supers(s, &first, err);

	if (rc == 0)
		rc = open_stores(s, err);
	if (rc == 0)
		rc = open_owed(s, err);
	if (rc < 0)
		return rc;
	options.count = s->options.disk_count;
	for (uint32_t i = 0; i < options.count; i++) {
		options.stores[i] = s->stores[i];
		memcpy(options.uuids[i], s->content.uuids[i], UUID_BYTES);
		options.tiers[i] = s->options.disks[i].tier;
		s->content.disks[i] = s->options.disks[i].disk;
	}
	options.owed = s->owed;
	options.on_owed_failed = owed_failed;
	options.arg = s;
	rc = cs_disks_create(&options, &s->disks);
	return rc < 0 ? error_set(err, rc, "cannot start") : open_content(s, err);
}

/* A byte for each block that the disks could hold. */
static int make_heat(struct cs_server *s)
{
	struct cs_store_stats stats;
	uint64_t period_ms = s->options.cold_after_ms;

	cs_disks_stats(s->disks, &stats);
	struct cs_heat_options options = {
		.period_ms = period_ms != 0 ? period_ms : COLD_AFTER_MS,
		.bytes = stats.bytes_total / BLOCK_BYTES_MAX,
		.hot_uses = HOT_USES,
	};
	return cs_heat_create(&options, loop_now_ms(s->options.loop), &s->heat);
}

static int make_tables(struct cs_server *s)
{
	int rc = cs_verifier_create(s->options.loop, s->hash, &s->verifier);

	if (rc == 0)
		rc = make_heat(s);
	if (rc == 0)
		rc = map_create(&s->map);
	if (rc == 0)
		rc = cs_serve_put_init(s);
	if (rc == 0)
		rc = cs_serve_get_init(s);
	if (rc == 0)
		rc = cs_serve_have_init(s);
	if (rc == 0)
		rc = cs_serve_check_init(s);
	if (rc == 0)
		rc = cs_damage_create(s);
	if (rc == 0)
		rc = cs_serve_heal_init(s);
	if (rc == 0)
		rc = cs_meta_create(s);
	if (rc == 0)
		rc = cs_collect_create(s);
	return rc;
}

static int start_serving(struct cs_server *s, struct error *err)
{
	struct rpc_options options = {
		.loop = s->options.loop,
		.net = s->options.net,
		.pool = s->options.pool,
		.role = RPC_CHUNK_SERVER,
		.name = s->name,
		.boot_id = s->boot_id,
		.hash = s->hash,
		.min_copies = s->min_copies,
		.on_request = on_request,
		.arg = s,
	};

	memcpy(options.cluster, s->cluster, sizeof(options.cluster));
	int rc = rpc_create(&options, &s->rpc);
	if (rc < 0)
		return error_set(err, rc, "cannot start");
	rc = rpc_listen(s->rpc, s->options.listen, err);
	if (rc < 0)
		return rc;
	s->advertise = copy_or(s->options.advertise, rpc_listen_address(s->rpc));
	if (s->advertise == NULL)
		return error_set(err, -E_NOMEM, "cannot start");
	rc = cs_heartbeat_create(s);
	if (rc < 0)
		return error_set(err, rc, "cannot reach for the metadata server '%s'", s->mds);
	rc = cs_repay_create(s);
	if (rc == 0)
		rc = cs_scrub_create(s);
	if (rc == 0)
		rc = cs_reencode_create(s);
	if (rc == 0)
		rc = cs_heal_create(s);
	if (rc == 0)
		rc = cs_tiers_create(s);
	if (rc == 0)
		rc = cs_media_create(s);
	return rc < 0 ? error_set(err, rc, "cannot start") : 0;
}

int cs_server_create(const struct cs_server_options *options, struct cs_server **out,
		     struct error *err)
{
	struct cs_server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return error_set(err, -E_NOMEM, "cannot start");
	ASSERT(options->disk_count >= 1 && options->disk_count <= DISKS_MAX &&
	       options->boot_id != 0);
	int rc = take_options(s, options, err);
	if (rc == 0)
		rc = open_disks(s, err);
	if (rc == 0) {
		rc = make_tables(s);
		if (rc < 0)
			error_set(err, rc, "cannot start");
	}
	if (rc == 0)
		rc = start_serving(s, err);
	if (rc < 0) {
		cs_server_destroy(s);
		return rc;
	}
	*out = s;
	return 0;
}

const char *cs_server_address(const struct cs_server *s)
{
	return rpc_listen_address(s->rpc);
}

server_no cs_server_number(const struct cs_server *s)
{
	return s->number;
}

/* --- stopping ---- */

static bool is_idle(const struct cs_server *s)
{
	return s->jobs == 0 && cs_disks_is_idle(s->disks) && cs_meta_is_idle(s) &&
	       cs_repay_is_idle(s) && cs_damage_is_idle(s) && cs_scrub_is_idle(s) &&
	       cs_heal_is_idle(s) && cs_reencode_is_idle(s) && cs_tiers_is_idle(s) &&
	       cs_media_is_idle(s);
}

/* Sync and close everything that holds data. */
static int close_data(struct cs_server *s)
{
	int result = 0;

	cs_heartbeat_destroy(s);
	cs_repay_destroy(s);
	cs_scrub_destroy(s);
	cs_reencode_destroy(s);
	cs_heal_destroy(s);
	cs_tiers_destroy(s);
	cs_media_destroy(s);
	for (uint32_t i = 0; i < s->options.disk_count; i++) {
		int rc = cs_store_close(s->stores[i]);
		s->stores[i] = NULL;
		if (rc < 0)
			result = rc;
	}
	int rc = cs_owed_close(s->owed);
	s->owed = NULL;
	return rc < 0 ? rc : result;
}

static void stop_fired(struct loop_timer *timer)
{
	struct cs_server *s = container_of(timer, struct cs_server, stop_timer);

	if (is_idle(s)) {
		s->stopped(s->stopped_arg, close_data(s));
		return;
	}
	if (loop_now_ns(s->options.loop) >= s->stop_due_ns) {
		log_warn("giving up on %u requests", s->jobs);
		s->stopped(s->stopped_arg, -E_TIMEDOUT);
		return;
	}
	loop_timer_start(s->options.loop, &s->stop_timer, STOP_POLL_MS);
}

void cs_server_stop(struct cs_server *s, void (*stopped)(void *arg, int rc), void *arg)
{
	ASSERT(!s->is_stopping);
	s->is_stopping = true;
	s->stopped = stopped;
	s->stopped_arg = arg;
	s->stop_due_ns = loop_now_ns(s->options.loop) + STOP_MS_MAX * 1000000ull;
	s->stop_timer.fn = stop_fired;
	cs_repay_stop(s);
	cs_scrub_stop(s);
	cs_reencode_stop(s);
	cs_heal_stop(s);
	cs_tiers_stop(s);
	cs_media_stop(s);
	cs_serve_get_stop(s);
	cs_disks_quiet(s->disks);
	cs_collect_stop(s);
	loop_timer_start(s->options.loop, &s->stop_timer, 0);
}

void cs_server_destroy(struct cs_server *s)
{
	if (s == NULL)
		return;
	s->is_stopping = true;
	loop_timer_stop(s->options.loop, &s->stop_timer);
	if (s->repay != NULL)
		cs_repay_stop(s);
	if (s->heal != NULL)
		cs_heal_stop(s);
	cs_tiers_stop(s);
	cs_media_stop(s);
	/* Calls end first, while what they answer to is still there. */
	cs_heartbeat_destroy(s);
	cs_forward_finish(s);
	if (s->rpc != NULL)
		rpc_destroy(s->rpc);
	if (s->repay != NULL)
		cs_repay_destroy(s);
	if (s->heal != NULL)
		cs_heal_destroy(s);
	cs_collect_destroy(s);
	if (s->meta != NULL)
		cs_meta_destroy(s);
	/* After a crash the stores still hold puts and gets of the jobs. */
	cs_scrub_destroy(s);
	cs_disks_destroy(s->disks);
	for (uint32_t i = 0; i < s->options.disk_count; i++)
		cs_store_drop(s->stores[i]);
	cs_reencode_destroy(s); /* the stores held its puts */
	cs_owed_drop(s->owed);
	cs_tiers_destroy(s);
	cs_media_destroy(s);
	cs_serve_put_finish(s);
	cs_serve_get_finish(s);
	cs_serve_have_finish(s);
	cs_serve_check_finish(s);
	cs_damage_destroy(s);
	cs_serve_heal_finish(s);
	cs_verifier_destroy(s->verifier);
	cs_heat_destroy(s->heat);
	map_destroy(s->map);
	free(s->advertise);
	free(s->name);
	free(s->host);
	free(s->rack);
	free(s->mds);
	free(s);
}

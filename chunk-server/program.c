/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts the real world under a chunk server: libuv, TCP, directories, LMDB, signals.
 *
 * A directory that cannot be opened is left out, as long as there is another: a disk fails alone.
 *
 * Order matters twice. A directory is locked before the view of its index is looked at, for looking
 * may discard it. And views are marked clean last of all, when the stores are synced and closed.
 */
#include "chunk-server/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chunk-server/format.h"
#include "chunk-server/serve.h"
#include "chunk-server/tier.h"
#include "fs/base/log.h"
#include "fs/io/daemon.h"
#include "fs/io/view.h"

#define LOG_MODULE "program"

/* Address space only; what is used takes disk: 130 bytes a block, so enough for half a PB of one
 * disk. */
#define INDEX_BYTES_MAX GiB(1024)
#define OWED_BYTES_MAX	GiB(64)
#define NAME_BYTES_KEPT 63u /* it serves as failure domain, too */

/* Rows in a directory of their own, a view. */
struct view {
	char directory[CONFIG_TEXT_BYTES + 16];
	struct view_state state;
	struct rows *rows;
};

struct program {
	const struct cs_program_options *options;
	const struct config *config;
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	/* directories that could be opened, in the order of cs.dirs */
	uint32_t disk_count, disks_missing;
	const char *paths[DISKS_MAX];
	struct disk *disks[DISKS_MAX];
	struct view indexes[DISKS_MAX];
	struct media media[DISKS_MAX];
	uint32_t tiers[DISKS_MAX];
	struct view owed; /* on the first that the server uses */
	char name[256];
	struct cs_server *server;
	struct daemon daemon;
	bool is_clean; /* stopped, and everything is durable */
};

/* --- directories ---- */

static int open_view(struct view *view, const char *directory, const char *name, uint64_t bytes_max,
		     struct error *err)
{
	(void)snprintf(view->directory, sizeof(view->directory), "%s/%s", directory, name);
	int rc = view_open(view->directory, &view->state);
	if (rc >= 0)
		rc = rows_lmdb_create(view->directory, bytes_max, &view->rows);
	return rc < 0 ? error_set(err, rc, "cannot open the index in '%s'", view->directory) : 0;
}

static void close_view(struct view *view, bool is_clean)
{
	if (view->rows == NULL)
		return;
	rows_destroy(view->rows);
	view->rows = NULL;
	if (!is_clean)
		return; /* left open: kept if this system stays up */
	int rc = view_close_clean(view->directory, (struct view_position){0, 0});
	if (rc < 0)
		log_warn("cannot mark '%s' as clean: %s", view->directory, error_text(rc));
}

static int find_media(struct program *p, const char *path, struct error *err)
{
	struct media *media = &p->media[p->disk_count];

	media_detect(&media_system, path, media);
	int rc = media_chosen(&p->config->cs_media, path, &media->kind, err);
	if (rc >= 0)
		rc = cs_tier_of(&p->config->cs_tiers, path, media->kind,
				&p->tiers[p->disk_count], err);
	if (rc == 0)
		log_info("disk '%s' is used as %s (device '%s'), in tier %u", path,
			 media_profile(media->kind)->name, media->device, p->tiers[p->disk_count]);
	return rc;
}

static int open_directory(struct program *p, const char *path, struct error *err)
{
	struct disk **disk = &p->disks[p->disk_count];
	struct super super;
	int rc = disk_posix_create(path, disk);

	if (rc == -E_NOENT)
		return error_set(err, rc, "cannot open '%s' (mkfs.cairn makes it)", path);
	if (rc < 0)
		return error_set(err, rc, "cannot open '%s'", path);
	/* What is not ours is not written to: not even a lock. */
	rc = cs_format_read(*disk, &super, err);
	if (rc < 0)
		return error_wrap(err, "cannot use '%s'", path);
	rc = disk_lock(*disk);
	if (rc == -E_BUSY)
		return error_set(err, rc, "cannot use '%s': another cairn-cs serves it", path);
	if (rc < 0)
		return error_set(err, rc, "cannot lock '%s'", path);
	rc = find_media(p, path, err);
	return rc < 0 ? rc : open_view(&p->indexes[p->disk_count], path, "index", INDEX_BYTES_MAX,
				       err);
}

static void leave_out(struct program *p, const struct error *err)
{
	if (p->disks[p->disk_count] != NULL)
		disk_destroy(p->disks[p->disk_count]);
	p->disks[p->disk_count] = NULL;
	p->disks_missing++;
	log_error("starting without a disk: %s", err->text);
}

static int open_directories(struct program *p, struct error *err)
{
	const struct config_paths *dirs = &p->config->cs_dirs;

	for (uint32_t i = 0; i < dirs->count; i++) {
		int rc = open_directory(p, dirs->path[i], err);
		bool is_last = p->disk_count == 0 && i + 1 == dirs->count;
		if (rc < 0 && (is_last || !cs_server_can_leave_out(rc)))
			return rc;
		if (rc < 0)
			leave_out(p, err);
		else
			p->paths[p->disk_count++] = dirs->path[i];
	}
	return 0;
}

/* The server wants it beside the log, on the first disk that it can use. */
static int open_owed(void *arg, const struct disk *disk, struct rows **out, struct error *err)
{
	struct program *p = arg;
	uint32_t i = 0;

	while (p->disks[i] != disk)
		i++;
	close_view(&p->owed, false);
	int rc = open_view(&p->owed, p->paths[i], "owed-index", OWED_BYTES_MAX, err);
	*out = p->owed.rows;
	return rc;
}

/* --- serving ---- */

/* One that cannot be marked is built again at the next start. */
static void view_keep(struct view *view)
{
	int rc = view->state.is_trusted ? 0 : view_built(view->directory);

	if (rc < 0)
		log_warn("cannot keep the index in '%s': %s", view->directory, error_text(rc));
}

static void views_keep(struct program *p)
{
	for (uint32_t i = 0; i < p->disk_count; i++) {
		if (cs_server_uses(p->server, p->disks[i]))
			view_keep(&p->indexes[i]);
	}
	view_keep(&p->owed);
}

static int begin_serving(struct program *p, struct error *err)
{
	const struct config *c = p->config;
	struct cs_server_options o = {
		.loop = p->loop,
		.net = p->net,
		.pool = p->pool,
		.disk_count = p->disk_count,
		.disks_missing = p->disks_missing,
		.open_owed = open_owed,
		.open_owed_arg = p,
		.listen = c->cs_listen,
		.advertise = c->cs_advertise,
		.mds = c->cluster_mds,
		.name = p->name,
		.rack = c->cluster_rack,
		.segment_bytes = c->cs_segment_bytes,
		.sync_ms = (uint32_t)c->cs_sync_ms,
		.sync_bytes = c->cs_sync_bytes,
		.full_percent = (uint32_t)c->cs_full_percent,
		.scrub_period_ms = c->cs_scrub_period,
		.scrub_bytes_per_s = c->cs_scrub_bytes_per_s,
		.calibrates = c->cs_calibrate,
		.tier_low_percent = (uint32_t)c->cs_tier_low_percent,
		.tier_high_percent = (uint32_t)c->cs_tier_high_percent,
		.tier_bytes_per_s = c->cs_tier_bytes_per_s,
		.reencode = c->cs_reencode,
		.reencode_bytes_per_s = c->cs_reencode_bytes_per_s,
		.cold_after_ms = c->cs_cold_after,
	};

	if (gethostname(p->name, sizeof(p->name) - 1) < 0)
		p->name[0] = '\0';
	p->name[NAME_BYTES_KEPT] = '\0';
	o.host = c->cluster_host[0] != '\0' ? c->cluster_host : p->name;
	for (uint32_t i = 0; i < o.disk_count; i++)
		o.disks[i] = (struct cs_server_disk){
			.disk = p->disks[i],
			.index = p->indexes[i].rows,
			.index_is_trusted = p->indexes[i].state.is_trusted,
			.was_closed = p->indexes[i].state.was_closed,
			.name = p->paths[i],
			.media = p->media[i],
			.tier = p->tiers[i],
		};
	do {
		loop_random(p->loop, &o.boot_id, sizeof(o.boot_id));
	} while (o.boot_id == 0);
	int rc = cs_server_create(&o, &p->server, err);
	if (rc < 0)
		return error_wrap(err, "cannot serve '%s'", p->paths[0]);
	views_keep(p);
	return 0;
}

static void on_stopped(void *arg, int rc)
{
	struct program *p = arg;

	if (rc == -E_TIMEDOUT) {
		/* A call into a disk that never returns: its memory cannot be taken back. End as by
		 * a crash. */
		log_error("a disk does not answer: ending without it");
		_exit(EXIT_FAILURE);
	}
	p->is_clean = rc == 0;
	loop_uv_stop(p->loop);
}

static void stop(void *arg)
{
	struct program *p = arg;

	cs_server_stop(p->server, on_stopped, p);
}

static int serve(struct program *p, struct error *err)
{
	p->daemon = (struct daemon){
		.loop = p->loop,
		.address = cs_server_address(p->server),
		.directory = p->paths[0],
		.pid_file = p->options->pid_file,
		.port_file = p->options->port_file,
		.stop = stop,
		.arg = p,
	};
	return daemon_serve(&p->daemon, err);
}

/* --- up and down ---- */

static int bring_up(struct program *p, struct error *err)
{
	int rc = media_check(&p->config->cs_media, &p->config->cs_dirs, err);

	if (rc >= 0)
		rc = cs_tier_check(&p->config->cs_tiers, &p->config->cs_dirs, err);
	if (rc >= 0)
		rc = open_directories(p, err);
	if (rc < 0)
		return rc;
	p->pool = buf_pool_create(p->config->cs_memory_bytes);
	rc = p->pool != NULL ? loop_uv_create((unsigned)p->config->cs_workers, &p->loop) : -E_NOMEM;
	if (rc >= 0)
		rc = net_uv_create(p->loop, p->pool, p->config->cluster_transport, &p->net);
	if (rc < 0)
		return error_set(err, rc, "cannot begin");
	return begin_serving(p, err);
}

static void take_down(struct program *p)
{
	bool is_used[DISKS_MAX] = {false};

	for (uint32_t i = 0; p->is_clean && i < p->disk_count; i++)
		is_used[i] = cs_server_uses(p->server, p->disks[i]);
	cs_server_destroy(p->server);
	if (p->net != NULL)
		p->net->ops->destroy(p->net);
	if (p->loop != NULL)
		loop_uv_destroy(p->loop);
	for (uint32_t i = 0; i < DISKS_MAX; i++)
		close_view(&p->indexes[i], is_used[i]);
	close_view(&p->owed, p->is_clean);
	for (uint32_t i = 0; i < DISKS_MAX; i++) {
		if (p->disks[i] != NULL)
			disk_destroy(p->disks[i]);
	}
	if (p->pool != NULL)
		buf_pool_destroy(p->pool);
}

int cs_program_run(const struct cs_program_options *options, struct error *err)
{
	struct program *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return error_set(err, -E_NOMEM, "cannot begin");
	p->options = options;
	p->config = options->config;
	int rc = bring_up(p, err);
	if (rc >= 0)
		rc = serve(p, err);
	take_down(p);
	free(p);
	return rc;
}

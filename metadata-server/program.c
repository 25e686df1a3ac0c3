/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts the real world under a metadata server: libuv, TCP, directories, LMDB, signals.
 *
 * Order matters twice. The directories are locked before the view of the rows is looked at, for
 * looking may discard it. And the view is marked clean last of all, when the rows are closed and
 * the journal is synced.
 */
#include "metadata-server/program.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/log.h"
#include "fs/io/daemon.h"
#include "fs/io/view.h"
#include "metadata-server/recover.h"
#include "metadata-server/serve.h"

#define LOG_MODULE "program"

#define WORKERS	     4u
#define LOCK_WAIT_MS 2000u

struct program {
	const struct ms_program_options *options;
	const struct config *config;
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct disk *disks[MS_JOURNAL_DIRS_MAX];
	const char *paths[MS_JOURNAL_DIRS_MAX];	/* of disks */
	uint32_t disk_count, disks_missing;
	struct rows *rows;
	char rows_dir[CONFIG_TEXT_BYTES + 8];
	char name[256];
	struct view_state view;
	struct ms_server *server;
	struct daemon daemon;
	bool is_stopped;
};

/* --- directories and rows --------------------------------------------------------------------- */

static int open_directory(struct program *p, const char *path, struct error *err)
{
	int rc;

	if (p->disk_count == MS_JOURNAL_DIRS_MAX)
		return error_say(err, -E_INVAL, "more than %u journal directories",
				 MS_JOURNAL_DIRS_MAX);
	rc = disk_posix_create(path, &p->disks[p->disk_count]);
	if (rc == -E_NOENT)
		return error_set(err, rc, "cannot open '%s' (mkfs.cairn makes it)", path);
	if (rc < 0)
		return error_set(err, rc, "cannot open '%s'", path);
	p->paths[p->disk_count++] = path;
	return 0;
}

/*
 * The journal tells whether the others are enough. The first lack is in *first, to be told by who
 * knows whether it is the end; others are logged.
 */
static int open_if_there(struct program *p, const char *path, struct error *first)
{
	struct error why = { 0 };
	int rc = open_directory(p, path, &why);

	if (rc == -E_INVAL || rc == 0) {
		if (rc < 0)
			*first = why;
		return rc;
	}
	if (first->code)
		log_error("%s", why.text);
	else
		*first = why;
	p->disks_missing++;
	return 0;
}

static int open_directories(struct program *p, struct super *super, struct error *err)
{
	int rc = open_if_there(p, p->config->mds_dir, err);

	for (uint32_t i = 0; i < p->config->journal_dirs.count && rc >= 0; i++)
		rc = open_if_there(p, p->config->journal_dirs.path[i], err);
	if (rc < 0 || p->disk_count == 0)
		return err->code;
	if (err->code)
		log_error("%s", err->text);
	rc = ms_recover_lock(p->disks, p->disk_count, LOCK_WAIT_MS, super, err);
	return rc < 0 ? error_wrap(err, "cannot use '%s'", p->config->mds_dir) : 0;
}

/* A view may lie in any directory that takes it. */
static int open_rows(struct program *p, struct error *err)
{
	int rc = -E_NOENT;

	for (uint32_t i = 0; i < p->disk_count && rc < 0; i++) {
		(void)snprintf(p->rows_dir, sizeof(p->rows_dir), "%s/rows", p->paths[i]);
		rc = view_open(p->rows_dir, &p->view);
	}
	if (rc >= 0)
		rc = rows_lmdb_create(p->rows_dir, p->config->mds_rows_bytes_max, &p->rows);
	return rc < 0 ? error_set(err, rc, "cannot open the rows in '%s'", p->rows_dir) : 0;
}

/* --- serving ---------------------------------------------------------------------------------- */

static void take_settings(struct program *p, struct ms_server_options *o)
{
	const struct config *c = p->config;

	o->rows_bytes_max = c->mds_rows_bytes_max;
	o->listen = c->mds_listen;
	o->journal_file_bytes_max = c->journal_file_bytes;
	o->snapshot_bytes = c->mds_snapshot_bytes;
	o->gc_ms = c->mds_gc_ms;
	o->gc_grace_ms = c->mds_gc_grace_ms;
	o->heartbeat_ms = (uint32_t)c->server_heartbeat_ms;
	o->metadata_copies = (uint32_t)c->mds_metadata_copies;
	o->aim = CODEC_AIM_FAST;
	o->config.lease_ms = c->lease_ms;
	o->config.suspect_ms = c->server_suspect_ms;
	o->config.down_ms = c->server_down_ms;
	o->config.out_ms = c->server_out_ms;
	o->config.inline_bytes_max = INLINE_BYTES_MAX;
	o->config.leases_max_per_session = LEASES_MAX_PER_SESSION;
	o->config.parked_max = PARKED_MAX;
	o->config.sessions_max = SESSIONS_MAX;
}

static int begin_serving(struct program *p, struct error *err)
{
	struct ms_server_options o = {
		.loop = p->loop, .net = p->net, .pool = p->pool, .disks = p->disks,
		.disk_count = p->disk_count, .disks_missing = p->disks_missing, .is_locked = true,
		.rows = p->rows, .name = p->name,
	};
	int rc;

	if (gethostname(p->name, sizeof(p->name) - 1) < 0)
		p->name[0] = '\0';	/* it is for people only */
	loop_random(p->loop, &o.boot_id, sizeof(o.boot_id));
	take_settings(p, &o);
	rc = ms_server_create(&o, &p->server, err);
	if (rc < 0)
		return error_wrap(err, "cannot serve '%s'", p->config->mds_dir);
	if (!p->view.is_trusted) {
		rc = view_built(p->rows_dir);
		if (rc < 0)
			return error_set(err, rc, "cannot open the rows in '%s'", p->rows_dir);
	}
	return 0;
}

static void on_stopped(void *arg)
{
	struct program *p = arg;

	p->is_stopped = true;
	loop_uv_stop(p->loop);
}

static void stop(void *arg)
{
	struct program *p = arg;

	ms_server_stop(p->server, on_stopped, p);
}

static int serve(struct program *p, struct error *err)
{
	p->daemon = (struct daemon){
		.loop = p->loop,
		.address = ms_server_address(p->server),
		.directory = p->config->mds_dir,
		.pid_file = p->options->pid_file,
		.port_file = p->options->port_file,
		.stop = stop,
		.arg = p,
	};
	return daemon_serve(&p->daemon, err);
}

/* --- up and down ------------------------------------------------------------------------------ */

static int bring_up(struct program *p, struct error *err)
{
	struct super super;
	int rc = open_directories(p, &super, err);

	if (rc < 0)
		return rc;
	p->pool = buf_pool_create(p->config->mds_memory_bytes);
	rc = p->pool ? loop_uv_create(WORKERS, &p->loop) : -E_NOMEM;
	if (rc >= 0)
		rc = net_uv_create(p->loop, p->pool, p->config->cluster_transport, &p->net);
	if (rc < 0)
		return error_set(err, rc, "cannot begin");
	rc = open_rows(p, err);
	return rc < 0 ? rc : begin_serving(p, err);
}

static void close_view(struct program *p)
{
	int rc;

	rows_destroy(p->rows);
	if (!p->is_stopped)
		return;		/* left open: kept if this system stays up */
	rc = view_close_clean(p->rows_dir, (struct view_position){ 0, 0 });
	if (rc < 0)
		log_warn("cannot mark the rows as clean: %s", error_text(rc));
}

static void take_down(struct program *p)
{
	ms_server_destroy(p->server);
	if (p->net)
		p->net->ops->destroy(p->net);
	if (p->loop)
		loop_uv_destroy(p->loop);
	if (p->rows)
		close_view(p);
	while (p->disk_count > 0)
		disk_destroy(p->disks[--p->disk_count]);
	if (p->pool)
		buf_pool_destroy(p->pool);
}

int ms_program_run(const struct ms_program_options *options, struct error *err)
{
	struct program p = { .options = options, .config = options->config };
	int rc = bring_up(&p, err);

	if (rc >= 0)
		rc = serve(&p, err);
	take_down(&p);
	return rc;
}

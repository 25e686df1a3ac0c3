/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole cluster for tests of the client core: a metadata server, three chunk servers and any
 * number of clients in one loop, over TCP, in a scratch folder. Operations run one at a time: op()
 * submits and steps the loop until it is done.
 */
#ifndef CAIRN_TESTS_CLIENT_CLUSTER_H
#define CAIRN_TESTS_CLIENT_CLUSTER_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "chunk-server/format.h"
#include "chunk-server/serve.h"
#include "client/core/client.h"
#include "fs/codec/codec.h"
#include "fs/placement/map.h"
#include "metadata-server/format.h"
#include "metadata-server/serve.h"
#include "tests/check_main.h"
#include "tests/scratch.h"

#define CLUSTER_SERVERS 3u

struct cluster_cs {
	struct disk *disk;
	struct rows *index, *owed;
	struct cs_server *server;
	char address[64];
};

struct cluster {
	struct scratch scratch;
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct disk *mds_disk;
	struct rows *mds_rows;
	struct ms_server *mds;
	char mds_address[64];
	uint64_t mds_boot;
	struct cluster_cs cs[CLUSTER_SERVERS];
	uint32_t lease_ms;
	char session_file[512];		/* of who fences another; clients keep its name */
};

/* Called for each disk of a chunk server before it is used; NULL: as it is. */
static void (*cluster_disk_hook)(struct cluster *w, uint32_t i, struct disk *disk);

/* Called with the options of each client before it is made; NULL: as they are. */
static void (*cluster_client_hook)(struct cluster *w, struct cl_options *options);

static uint32_t cluster_out_ms = 60000;	/* a server that is silent for so long is given up */

static const uint8_t cluster_id[16] = { 4, 2 };

static inline struct ms_config cluster_config(const struct cluster *w)
{
	return (struct ms_config){
		.lease_ms = w->lease_ms, .suspect_ms = 500, .down_ms = 1000,
		.out_ms = cluster_out_ms,
		.copies = 3, .min_copies = 2, .inline_bytes_max = INLINE_BYTES_MAX,
		.leases_max_per_session = 10000, .parked_max = 100, .sessions_max = 10,
		.name_key = 42,
	};
}

static inline void cluster_super(struct super *super, enum super_role role, uint8_t n)
{
	*super = (struct super){ .role = role, .hash = HASH_SHA256, .copies = 3, .min_copies = 2,
				 .name_key = 42, .directory = { n }, .server = { n } };
	memcpy(super->cluster, cluster_id, sizeof cluster_id);
	if (role == SUPER_METADATA)
		memset(super->server, 0, sizeof super->server);
	else
		super->name_key = 0;
}

static inline const char *cluster_folder(struct cluster *w, const char *name)
{
	const char *path = scratch_path(&w->scratch, name);
	(void)mkdir(path, 0700);
	return path;
}

static inline void cluster_mds_start(struct cluster *w)
{
	struct error err = { 0 };
	if (!w->mds_disk)
		ck_assert_int_eq(disk_posix_create(cluster_folder(w, "mds"), &w->mds_disk), 0);
	struct ms_server_options o = {
		.loop = w->loop, .net = w->net, .pool = w->pool, .disks = &w->mds_disk,
		.disk_count = 1, .rows = w->mds_rows,
		.listen = w->mds_address[0] ? w->mds_address : "127.0.0.1:0", .name = "mds",
		.boot_id = ++w->mds_boot, .config = cluster_config(w),
		.journal_file_bytes_max = MiB(16), .snapshot_bytes = MiB(64), .heartbeat_ms = 50,
	};
	ck_assert_msg(ms_server_create(&o, &w->mds, &err) == 0, "%s", err.text);
	snprintf(w->mds_address, sizeof w->mds_address, "%s", ms_server_address(w->mds));
}

static inline void cluster_cs_start(struct cluster *w, uint32_t i, uint64_t boot_id)
{
	struct cluster_cs *cs = &w->cs[i];
	struct error err = { 0 };
	struct cs_server_options o = {
		.loop = w->loop, .net = w->net, .pool = w->pool, .disk_count = 1, .owed = cs->owed,
		.disks[0] = { .disk = cs->disk, .index = cs->index, .index_is_trusted = true },
		.listen = cs->address[0] ? cs->address : "127.0.0.1:0", .mds = w->mds_address,
		.name = "cs", .host = "here", .rack = "", .boot_id = boot_id,
		.segment_bytes = MiB(64), .sync_ms = 100, .sync_bytes = MiB(64), .full_percent = 99,
	};
	ck_assert_msg(cs_server_create(&o, &cs->server, &err) == 0, "%s", err.text);
	snprintf(cs->address, sizeof cs->address, "%s", cs_server_address(cs->server));
}

static inline void cluster_step(struct loop_timer *timer)
{
	loop_uv_stop(*(struct loop **)(void *)(timer + 1));
}

struct cluster_pause {
	struct loop_timer timer;
	struct loop *loop;
};

static inline void cluster_run_for(struct cluster *w, uint64_t ms)
{
	struct cluster_pause pause = { .timer = { .fn = cluster_step }, .loop = w->loop };
	loop_timer_start(w->loop, &pause.timer, ms);
	loop_uv_run(w->loop);
	loop_timer_stop(w->loop, &pause.timer);
}

static inline void cluster_start(struct cluster *w, uint32_t lease_ms)
{
	struct error err = { 0 };
	struct super super;
	char name[8];
	memset(w, 0, sizeof *w);
	w->lease_ms = lease_ms;
	scratch_init(&w->scratch);
	ck_assert_int_eq(loop_uv_create(2, &w->loop), 0);
	w->pool = buf_pool_create(MiB(256));
	ck_assert_int_eq(net_uv_create(w->loop, w->pool, "auto", &w->net), 0);
	ck_assert_int_eq(disk_posix_create(cluster_folder(w, "mds"), &w->mds_disk), 0);
	ck_assert_int_eq(rows_mem_create(&w->mds_rows), 0);
	struct ms_format_options format = { .config = cluster_config(w), .wall_ns = 1 };
	cluster_super(&format.super, SUPER_METADATA, 100);
	ck_assert_msg(ms_format(&w->mds_disk, 1, &format, &err) == 0, "%s", err.text);
	cluster_mds_start(w);
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++) {
		snprintf(name, sizeof name, "cs%u", i + 1);
		ck_assert_int_eq(disk_posix_create(cluster_folder(w, name), &w->cs[i].disk), 0);
		if (cluster_disk_hook)
			cluster_disk_hook(w, i, w->cs[i].disk);
		ck_assert_int_eq(rows_mem_create(&w->cs[i].index), 0);
		ck_assert_int_eq(rows_mem_create(&w->cs[i].owed), 0);
		cluster_super(&super, SUPER_CHUNK, (uint8_t)(i + 1));
		ck_assert_msg(cs_format(w->cs[i].disk, &super, &err) == 0, "%s", err.text);
		cluster_cs_start(w, i, 1000 + i);
	}
	cluster_run_for(w, 300);	/* they join */
}

static inline void cluster_mds_stopped(void *arg)
{
	loop_uv_stop(((struct cluster *)arg)->loop);
}

static inline void cluster_cs_stopped(void *arg, int rc)
{
	(void)rc;
	loop_uv_stop(((struct cluster *)arg)->loop);
}

static inline void cluster_mds_stop(struct cluster *w)
{
	ms_server_stop(w->mds, cluster_mds_stopped, w);
	loop_uv_run(w->loop);
	ms_server_destroy(w->mds);
	disk_destroy(w->mds_disk);	/* and its lock */
	w->mds = NULL;
	w->mds_disk = NULL;
}

static inline void cluster_cs_stop(struct cluster *w, uint32_t i)
{
	cs_server_stop(w->cs[i].server, cluster_cs_stopped, w);
	loop_uv_run(w->loop);
	cs_server_destroy(w->cs[i].server);
	w->cs[i].server = NULL;
}

/* A chunk server that comes back with an empty disk: all that it held is lost. */
static inline void cluster_cs_lose(struct cluster *w, uint32_t i, uint64_t boot_id)
{
	struct error err = { 0 };
	struct super super;
	char name[16];
	cluster_cs_stop(w, i);
	rows_destroy(w->cs[i].index);
	rows_destroy(w->cs[i].owed);
	disk_destroy(w->cs[i].disk);
	snprintf(name, sizeof name, "cs%u-%u", i + 1, (unsigned)boot_id);
	ck_assert_int_eq(disk_posix_create(cluster_folder(w, name), &w->cs[i].disk), 0);
	ck_assert_int_eq(rows_mem_create(&w->cs[i].index), 0);
	ck_assert_int_eq(rows_mem_create(&w->cs[i].owed), 0);
	cluster_super(&super, SUPER_CHUNK, (uint8_t)(i + 1));
	ck_assert_msg(cs_format(w->cs[i].disk, &super, &err) == 0, "%s", err.text);
	cluster_cs_start(w, i, boot_id);
}

static inline void cluster_finish(struct cluster *w)
{
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++) {
		cluster_cs_stop(w, i);
		rows_destroy(w->cs[i].index);
		rows_destroy(w->cs[i].owed);
		disk_destroy(w->cs[i].disk);
	}
	cluster_mds_stop(w);
	cluster_run_for(w, 20);		/* closed connections go */
	rows_destroy(w->mds_rows);
	w->net->ops->destroy(w->net);
	cluster_run_for(w, 20);
	loop_uv_destroy(w->loop);
	buf_pool_destroy(w->pool);
	scratch_finish(&w->scratch);
}

/* --- clients ---------------------------------------------------------------------------------- */

static int cluster_rc;

static inline void cluster_started(void *arg, int rc, const char *why)
{
	struct cluster *w = arg;
	ck_assert_msg(rc == 0, "%s", why);
	cluster_rc = rc;
	loop_uv_stop(w->loop);
}

static inline void cluster_stopped(void *arg, int rc)
{
	struct cluster *w = arg;
	cluster_rc = rc;
	loop_uv_stop(w->loop);
}

/* `session_file`: as a mount has it, NULL: none. */
static inline struct client *cluster_client_of(struct cluster *w, const char *session_file,
					       uint32_t timeout_ms)
{
	struct client *c;
	struct cl_options options = {
		.loop = w->loop, .net = w->net, .pool = w->pool, .mds_address = w->mds_address,
		.node_name = "test", .timeout_ms = timeout_ms, .memory_bytes = MiB(32),
		.flush_ms = 300, .blocks_in_flight = 16, .codec = CODEC_AIM_FAST,
		.session_file = session_file,
	};
	if (cluster_client_hook)
		cluster_client_hook(w, &options);
	ck_assert_int_eq(client_create(&options, &c), 0);
	client_start(c, cluster_started, w);
	loop_uv_run(w->loop);
	return c;
}

static inline struct client *cluster_client_with(struct cluster *w, const char *session_file)
{
	return cluster_client_of(w, session_file, 10000);
}

static inline struct client *cluster_client(struct cluster *w)
{
	return cluster_client_with(w, NULL);
}

/* End the session of `c` as its successor on the same machine does, which is answered. */
static inline struct client *cluster_fence(struct cluster *w, struct client *c)
{
	snprintf(w->session_file, sizeof w->session_file, "%s/session", w->scratch.path);
	FILE *f = fopen(w->session_file, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "%llu\n", (unsigned long long)client_session(c));
	fclose(f);
	return cluster_client_with(w, w->session_file);
}

static inline void cluster_client_stop(struct cluster *w, struct client *c)
{
	client_stop(c, cluster_stopped, w);
	loop_uv_run(w->loop);
	client_destroy(c);
}

static inline void cluster_op_done(struct cl_op *op)
{
	struct cluster *w = op->user;
	/* What is valid until done() returns is copied out by those who need it. */
	if (op->kind == CL_READ && op->rc == 0) {
		uint32_t at = 0;
		for (uint32_t i = 0; i < op->iov_count; i++) {
			memcpy((uint8_t *)op->out + at, op->iov[i].iov_base, op->iov[i].iov_len);
			at += (uint32_t)op->iov[i].iov_len;
		}
		ck_assert_uint_eq(at, op->out_len);
	}
	loop_uv_stop(w->loop);
}

static inline int cluster_op(struct cluster *w, struct client *c, struct cl_op *op)
{
	op->done = cluster_op_done;
	op->user = w;
	client_submit(c, op);
	while (!op->is_finished)
		loop_uv_run(w->loop);
	return op->rc;
}

/* --- files ------------------------------------------------------------------------------------ */

static inline struct cl_handle *file_create(struct cluster *w, struct client *c, const char *name)
{
	struct cl_op op = { .kind = CL_MAKE, .parent = INODE_ROOT, .name = name,
			    .mode = S_IFREG | 0644, .flags = O_RDWR, .want_open = true };
	ck_assert_int_eq(cluster_op(w, c, &op), 0);
	ck_assert_ptr_nonnull(op.opened);
	return op.opened;
}

/* A new inode under this name, which must not be there. */
static inline inode_no file_make(struct cluster *w, struct client *c, inode_no parent,
				 const char *name, mode_t mode)
{
	struct cl_op op = { .kind = CL_MAKE, .parent = parent, .name = name, .mode = mode,
			    .exclusive = true };
	ck_assert_int_eq(cluster_op(w, c, &op), 0);
	return op.attr.st.st_ino;
}

static inline inode_no file_lookup(struct cluster *w, struct client *c, const char *name)
{
	struct cl_op op = { .kind = CL_LOOKUP, .parent = INODE_ROOT, .name = name };
	return cluster_op(w, c, &op) == 0 ? op.attr.st.st_ino : 0;
}

static inline struct cl_handle *file_open(struct cluster *w, struct client *c, const char *name,
					  uint32_t flags)
{
	struct cl_op op = { .kind = CL_OPEN, .ino = file_lookup(w, c, name), .flags = flags };
	ck_assert_uint_ne(op.ino, 0);
	ck_assert_int_eq(cluster_op(w, c, &op), 0);
	return op.opened;
}

static inline int file_close(struct cluster *w, struct client *c, struct cl_handle *h)
{
	struct cl_op flush = { .kind = CL_FLUSH, .handle = h };
	struct cl_op release = { .kind = CL_RELEASE, .handle = h };
	int rc = cluster_op(w, c, &flush);
	ck_assert_int_eq(cluster_op(w, c, &release), 0);
	return rc;
}

static inline int file_write(struct cluster *w, struct client *c, struct cl_handle *h,
			     uint64_t offset, const void *bytes, uint32_t len)
{
	struct cl_op op = { .kind = CL_WRITE, .handle = h, .offset = offset, .bytes = bytes,
			    .bytes_len = len };
	int rc = cluster_op(w, c, &op);
	if (rc == 0)
		ck_assert_uint_eq(op.out_len, len);
	return rc;
}

/* Bytes read, or a negated code. */
static inline int file_read(struct cluster *w, struct client *c, struct cl_handle *h,
			    uint64_t offset, void *out, uint32_t len)
{
	struct cl_op op = { .kind = CL_READ, .handle = h, .offset = offset, .length = len,
			    .out = out };
	int rc = cluster_op(w, c, &op);
	return rc < 0 ? rc : (int)op.out_len;
}

static inline int file_truncate(struct cluster *w, struct client *c, inode_no ino, uint64_t size)
{
	struct cl_op op = { .kind = CL_SETATTR, .ino = ino, .set_mask = CL_SET_SIZE, .size = size };
	return cluster_op(w, c, &op);
}

static inline uint64_t file_size(struct cluster *w, struct client *c, inode_no ino)
{
	struct cl_op op = { .kind = CL_GETATTR, .ino = ino };
	ck_assert_int_eq(cluster_op(w, c, &op), 0);
	return (uint64_t)op.attr.st.st_size;
}

/* Bytes that a test can tell apart wherever they land. */
static inline void file_pattern(uint8_t *out, size_t len, uint64_t seed)
{
	uint64_t x = seed * 2 + 1;
	for (size_t i = 0; i < len; i++) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		out[i] = (uint8_t)(x >> 56);
	}
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Starting is: run it, then ask until it answers; the deadline is START_MS_MAX. */
#include "tools/host.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "fs/io/mounts.h"
#include "fs/placement/map.h"
#include "tools/admin.h"
#include "tools/mkfs.h"
#include "tools/patience.h"
#include "tools/process.h"

#define START_MS_MAX 60000u
#define STOP_MS_MAX  30000u
#define KILLED_MS_MAX 5000u
#define POLL_MS	     10u

/* --- folders ---------------------------------------------------------------------------------- */

static int make_folder(const char *path, struct error *err)
{
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return error_set(err, error_from_errno(errno), "cannot create '%s'", path);
	return 0;
}

/* Empty but for what mkfs of a disk image leaves. */
static bool folder_is_empty(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	bool is_empty = true;

	if (!d)
		return errno == ENOENT;
	while (is_empty && (e = readdir(d)))
		is_empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			   strcmp(e->d_name, "lost+found") == 0;
	closedir(d);
	return is_empty;
}

/*
 * The identity of csN follows from the cluster and N, so that an emptied folder is a new disk of
 * the same server.
 */
static void server_uuid(const struct super *cluster, uint32_t index, uint8_t out[SERVER_UUID_BYTES])
{
	uint8_t seed[sizeof cluster->cluster + 4];
	struct block_id digest;

	memcpy(seed, cluster->cluster, sizeof cluster->cluster);
	memcpy(seed + sizeof cluster->cluster,
	       (uint8_t[]){'c', 's', (uint8_t)(index >> 8), (uint8_t)index}, 4);
	block_id_of(HASH_SHA256, seed, sizeof seed, &digest);
	memcpy(out, digest.bytes, SERVER_UUID_BYTES);
}

int host_format_server(const struct layout *l, uint32_t index, struct error *err)
{
	const char *dir = l->cs_dirs[index];
	char mds_dir[PATH_MAX];
	uint8_t uuid[SERVER_UUID_BYTES];
	struct super cluster;
	int rc = make_folder(dir, err);

	if (rc < 0 || !folder_is_empty(dir))
		return rc;
	rc = mkfs_cluster_of(layout_path(l, mds_dir, "mds", ""), &cluster, err);
	if (rc < 0)
		return rc;
	server_uuid(&cluster, index, uuid);
	return mkfs_server(&cluster, uuid, &dir, 1, err);
}

/* Names are made once: where content is, and no names, their disk is lost or not mounted. */
static int check_names_are_new(const struct layout *l, const char *mds_dir, struct error *err)
{
	for (uint32_t i = 0; i < l->server_count; i++)
		if (!folder_is_empty(l->cs_dirs[i]))
			return error_say(err, -E_NOENT,
					 "'%s' is empty, but '%s' is not: is its disk mounted? If "
					 "it is lost: mkfs.cairn --recover --metadata %s --from %s",
					 mds_dir, l->cs_dirs[i], mds_dir, l->cs_dirs[i]);
	return 0;
}

int host_format(const struct layout *l, struct error *err)
{
	char mds_dir[PATH_MAX];
	struct mkfs_options o = { .copies = (uint8_t)l->copies, .with_acl = l->with_acl,
				   .hash = l->hash };
	struct super cluster;
	int rc;

	layout_path(l, mds_dir, "mds", "");
	o.metadata_dirs[0] = mds_dir;
	o.metadata_dir_count = 1;
	rc = make_folder(mds_dir, err);
	if (rc == 0 && folder_is_empty(mds_dir)) {
		rc = check_names_are_new(l, mds_dir, err);
		if (rc == 0)
			rc = mkfs_metadata(&o, &cluster, err);
	}
	for (uint32_t i = 0; rc == 0 && i < l->server_count; i++)
		rc = host_format_server(l, i, err);
	for (uint32_t i = 0; rc == 0 && i < l->mount_count; i++)
		rc = make_folder(l->mount_dirs[i], err);
	return rc;
}

/* --- is it serving? --------------------------------------------------------------------------- */

static bool mds_serves(const struct layout *l)
{
	Wire__Status ask = WIRE__STATUS__INIT;
	ProtobufCMessage *reply = NULL;
	struct admin *a;
	struct error ignored;
	char address[128];
	bool serves;

	snprintf(address, sizeof address, "%s:%u", l->address, l->mds_port);
	if (admin_open(address, &a, &ignored) < 0)
		return false;
	serves = admin_call(a, MSG_STATUS, &ask.base, 1000, &reply, &ignored) == 0;
	if (serves)
		msg_free(reply);
	admin_close(a);
	return serves;
}

/* One that was taken away serves as well, as long as it is kept running. */
static bool is_there(uint32_t state)
{
	return state == SERVER_UP || state == SERVER_DRAINED || state == SERVER_REMOVED;
}

/* It answers by itself, and the metadata server knows it. */
static bool cs_serves(const struct layout *l, uint32_t index)
{
	Wire__Status ask = WIRE__STATUS__INIT;
	Wire__MetaList probe = WIRE__META_LIST__INIT;
	ProtobufCMessage *reply = NULL;
	struct admin *a;
	struct error ignored;
	char mds[128], cs[128];
	bool serves = false;

	snprintf(mds, sizeof mds, "%s:%u", l->address, l->mds_port);
	snprintf(cs, sizeof cs, "%s:%u", l->address, l->cs_ports[index]);
	if (admin_open(mds, &a, &ignored) < 0)
		return false;
	if (admin_ask(a, &(struct admin_question){cs, MSG_META_LIST, &probe.base, 1000, NULL},
		      &reply, &ignored) < 0)
		goto out;
	msg_free(reply);
	if (admin_call(a, MSG_STATUS, &ask.base, 1000, &reply, &ignored) < 0)
		goto out;
	const Wire__StatusReply *status = (const Wire__StatusReply *)(const void *)reply;
	for (size_t i = 0; i < status->n_servers; i++)
		if (strcmp(status->servers[i]->address, cs) == 0)
			serves = is_there(status->servers[i]->state);
	msg_free(reply);
out:
	admin_close(a);
	return serves;
}

/* What mount.cairn is told to mount, and the table of mounts then shows. */
static void source_of(const struct layout *l, char out[MOUNT_SOURCE_BYTES])
{
	(void)snprintf(out, MOUNT_SOURCE_BYTES, "%s:%u:/", l->address, l->mds_port);
}

static bool is_mounted(const struct layout *l, uint32_t index)
{
	char seen[MOUNT_SOURCE_BYTES], ours[MOUNT_SOURCE_BYTES];

	source_of(l, ours);
	return mounts_has_cairn(l->mount_dirs[index], seen) && strcmp(seen, ours) == 0;
}

static bool serves(const struct layout *l, enum layout_role role, uint32_t index)
{
	switch (role) {
	case LAYOUT_MDS: return mds_serves(l);
	case LAYOUT_CS: return cs_serves(l, index);
	case LAYOUT_CLIENT: return is_mounted(l, index);
	}
	return false;
}

/* --- starting --------------------------------------------------------------------------------- */

/* argv of one process; the strings live in `text`. */
struct command_line {
	char program[PATH_MAX];
	char config[PATH_MAX];
	char text[4][PATH_MAX + 64];
	char *argv[16];
	int argc;
};

static void add(struct command_line *c, char *argument)
{
	ASSERT(c->argc + 1 < (int)ARRAY_COUNT(c->argv));
	c->argv[c->argc++] = argument;
	c->argv[c->argc] = NULL;
}

static void add_set(struct command_line *c, int slot, const char *key, const char *value)
{
	snprintf(c->text[slot], sizeof c->text[slot], "%s=%s", key, value);
	add(c, (char *)"--set");
	add(c, c->text[slot]);
}

static int server_line(const struct layout *l, enum layout_role role, uint32_t index,
		       struct command_line *c, struct error *err)
{
	char address[128], dir[PATH_MAX];
	bool is_mds = role == LAYOUT_MDS;
	unsigned port = is_mds ? l->mds_port : l->cs_ports[index];
	int rc = process_program(is_mds ? "cairn-mds" : "cairn-cs", c->program, sizeof c->program,
				 err);

	if (rc < 0)
		return rc;
	snprintf(address, sizeof address, "%s:%u", l->address, port);
	add(c, c->program);
	add(c, (char *)"--config");
	add(c, layout_path(l, c->config, "cairn", ".conf"));
	add_set(c, 0, is_mds ? "mds.listen" : "cs.listen", address);
	if (is_mds)
		add_set(c, 1, "mds.dir", layout_path(l, dir, "mds", ""));
	else
		add_set(c, 1, "cs.dirs", l->cs_dirs[index]);
	return 0;
}

static int client_line(const struct layout *l, uint32_t index, struct command_line *c,
		       struct error *err)
{
	char name[32];
	char cache[PATH_MAX];
	int rc = process_program("mount.cairn", c->program, sizeof c->program, err);

	if (rc < 0)
		return rc;
	snprintf(name, sizeof name, "cache%u", index + 1);
	layout_path(l, cache, name, "");
	source_of(l, c->text[0]);
	snprintf(c->text[1], sizeof c->text[1], "%s", l->mount_dirs[index]);
	snprintf(c->text[2], sizeof c->text[2], "cache=%s,dev,suid", cache);
	layout_path(l, c->config, "cairn", ".conf");
	add(c, c->program);
	add(c, c->text[0]);
	add(c, c->text[1]);
	add(c, (char *)"--foreground");
	add(c, (char *)"--config");
	add(c, c->config);
	add(c, (char *)"-o");
	add(c, c->text[2]);
	return 0;
}

/* A killed mount process leaves a dead mount behind; a new one would only cover it. */
static void clear_dead_mount(const struct layout *l, uint32_t index)
{
	while (is_mounted(l, index) && umount2(l->mount_dirs[index], MNT_DETACH) == 0)
		;
}

/* One that is cut off from its cluster does not answer, and lives. */
static bool is_dead(const char *path)
{
	struct patience patience;
	bool dead;

	patience_begin(&patience);
	dead = mounts_is_dead(path);
	patience_end(&patience);
	return dead;
}

/* mount.cairn detaches dead ones. */
int host_may_mount(const struct layout *l, uint32_t index, struct error *err)
{
	const char *path = l->mount_dirs[index];
	char source[MOUNT_SOURCE_BYTES];

	if (!mounts_has_cairn(path, source) || is_mounted(l, index) || is_dead(path))
		return 0;
	return error_say(err, -E_BUSY,
			 "cannot mount on '%s': '%s', another cluster, is mounted there; umount "
			 "it, or mount elsewhere",
			 path, source);
}

static int wait_serving(const struct layout *l, const char *name, enum layout_role role,
			uint32_t index, struct error *err)
{
	char pid_file[PATH_MAX], log_file[PATH_MAX], tail[ERROR_TEXT_BYTES - 64];

	layout_path(l, pid_file, name, ".pid");
	layout_path(l, log_file, name, ".log");
	for (uint32_t waited = 0; waited < START_MS_MAX; waited += POLL_MS) {
		if (!process_find(pid_file)) {
			process_log_tail(log_file, tail, sizeof tail);
			return error_say(err, -E_IO, "'%s' ended at its start: %s", name, tail);
		}
		if (serves(l, role, index))
			return 0;
		process_sleep_ms(POLL_MS);
	}
	return error_say(err, -E_TIMEDOUT, "'%s' does not serve after %u s; see '%s'", name,
			 START_MS_MAX / 1000, log_file);
}

int host_start(const struct layout *l, const char *name, struct error *err)
{
	struct command_line c = { .argc = 0 };
	char pid_file[PATH_MAX], log_file[PATH_MAX];
	enum layout_role role;
	uint32_t index;
	pid_t pid;
	int rc = layout_parse_name(name, &role, &index);

	if (rc < 0 || (role == LAYOUT_CS && index >= l->server_count) ||
	    (role == LAYOUT_CLIENT && index >= l->mount_count))
		return error_say(err, -E_INVAL, "there is no process '%s' here", name);
	layout_path(l, pid_file, name, ".pid");
	layout_path(l, log_file, name, ".log");
	if (process_await_death(pid_file, KILLED_MS_MAX) == -E_BUSY)
		return wait_serving(l, name, role, index, err);
	if (role == LAYOUT_CS)
		rc = host_format_server(l, index, err);
	if (role == LAYOUT_CLIENT) {
		clear_dead_mount(l, index);
		rc = host_may_mount(l, index, err);
	}
	if (rc == 0)
		rc = role == LAYOUT_CLIENT ? client_line(l, index, &c, err)
					   : server_line(l, role, index, &c, err);
	if (rc == 0)
		rc = process_start(c.argv, pid_file, log_file, &pid, err);
	return rc < 0 ? rc : wait_serving(l, name, role, index, err);
}

int host_stop(const struct layout *l, const char *name, struct error *err)
{
	char pid_file[PATH_MAX];
	enum layout_role role;
	uint32_t index;
	int rc = layout_parse_name(name, &role, &index);

	if (rc < 0)
		return error_say(err, -E_INVAL, "there is no process '%s' here", name);
	rc = process_stop(layout_path(l, pid_file, name, ".pid"), STOP_MS_MAX, err);
	if (role == LAYOUT_CLIENT && index < l->mount_count)
		clear_dead_mount(l, index);
	return rc;
}

bool host_runs(const struct layout *l, const char *name)
{
	char pid_file[PATH_MAX];

	return process_find(layout_path(l, pid_file, name, ".pid")) != 0;
}

static int start_numbered(const struct layout *l, const char *prefix, uint32_t count,
			  struct error *err)
{
	char name[32];
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		snprintf(name, sizeof name, "%s%u", prefix, i + 1);
		rc = host_start(l, name, err);
	}
	return rc;
}

int host_start_all(const struct layout *l, struct error *err)
{
	int rc = host_start(l, "mds", err);

	if (rc == 0)
		rc = start_numbered(l, "cs", l->server_count, err);
	if (rc == 0)
		rc = start_numbered(l, "client", l->mount_count, err);
	return rc;
}

int host_stop_all(const struct layout *l, struct error *err)
{
	struct error first = { 0 }, this_one;
	char name[32];

	for (uint32_t i = l->mount_count; i > 0; i--) {
		snprintf(name, sizeof name, "client%u", i);
		if (host_stop(l, name, &this_one) < 0 && !first.code)
			first = this_one;
	}
	for (uint32_t i = l->server_count; i > 0; i--) {
		snprintf(name, sizeof name, "cs%u", i);
		if (host_stop(l, name, &this_one) < 0 && !first.code)
			first = this_one;
	}
	if (host_stop(l, "mds", &this_one) < 0 && !first.code)
		first = this_one;
	if (first.code && err)
		*err = first;
	return first.code;
}

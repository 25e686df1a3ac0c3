/* SPDX-License-Identifier: Apache-2.0 */
/* mkfs.cairn: create a cluster, or further disks of one. */
#include "tools/mkfs.h"

#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "chunk-server/format.h"
#include "fs/base/config.h"
#include "fs/base/text.h"
#include "fs/disk/segment.h"
#include "metadata-server/format.h"
#include "metadata-server/recover.h"
#include "tools/admin.h"
#include "tools/mkfs_recover.h"

#define HELLO_MS 5000u

static uint64_t wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int random_bytes(void *out, size_t len, struct error *err)
{
	return getrandom(out, len, 0) == (ssize_t)len
		       ? 0
		       : error_set(err, -E_IO, "cannot get random bytes");
}

/* What a format that was interrupted leaves, and what a new ext4 has. */
static bool may_be_there(const char *name)
{
	static const char *const names[] = {".",	 "..",	     "lost+found",     "journal",
					    "snapshots", "rows",     "segments",       "meta",
					    "lock",	 SUPER_FILE, SUPER_FILE ".new"};

	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* A folder with other people's files was named by mistake. One that is formatted is refused for
 * that, later. */
static int refuse_foreign(const char *path, struct error *err)
{
	char super[PATH_MAX];
	struct dirent *entry;
	DIR *dir;
	int rc = 0;

	if (snprintf(super, sizeof super, "%s/" SUPER_FILE, path) >= PATH_MAX ||
	    access(super, F_OK) == 0)
		return 0;
	dir = opendir(path);
	if (!dir)
		return error_set(err, error_from_errno(errno), "cannot look into '%s'", path);
	while (rc == 0 && (entry = readdir(dir)))
		if (!may_be_there(entry->d_name))
			rc = error_say(err, -E_NOT_EMPTY,
				       "'%s' holds '%.64s': give an empty directory", path,
				       entry->d_name);
	closedir(dir);
	return rc;
}

static int open_folder(const char *path, struct disk **out, struct error *err)
{
	int rc;

	if (mkdir(path, 0750) != 0 && errno != EEXIST)
		return error_set(err, error_from_errno(errno), "cannot create '%s'", path);
	rc = refuse_foreign(path, err);
	if (rc < 0)
		return rc;
	rc = disk_posix_create(path, out);
	return rc < 0 ? error_set(err, rc, "cannot use '%s'", path) : 0;
}

/* --- metadata --------------------------------------------------------------------------------- */

static int new_cluster(const struct mkfs_options *o, struct super *s, struct error *err)
{
	memset(s, 0, sizeof *s);
	s->role = SUPER_METADATA;
	s->hash = o->hash ? o->hash : HASH_SHA256;
	s->copies = o->copies;
	s->min_copies = o->min_copies ? o->min_copies : (uint8_t)MIN_OF(2u, o->copies);
	s->incompat = o->with_acl ? SUPER_INCOMPAT_ACL : 0;
	s->made_ns = wall_ns();
	if (s->copies < 1 || s->copies > COPIES_MAX || s->min_copies > s->copies)
		return error_say(err, -E_INVAL,
				 "cannot keep %u copies, at least %u: wants 1 to %u, and no more "
				 "than copies",
				 s->copies, s->min_copies, COPIES_MAX);
	if (random_bytes(s->cluster, sizeof s->cluster, err) < 0 ||
	    random_bytes(s->directory, sizeof s->directory, err) < 0)
		return err->code;
	return random_bytes(&s->name_key, sizeof s->name_key, err);
}

static void state_config(const struct super *s, struct ms_config *out)
{
	struct config defaults;

	config_init(&defaults);
	*out = (struct ms_config){
		.lease_ms = defaults.lease_ms,
		.suspect_ms = defaults.server_suspect_ms,
		.down_ms = defaults.server_down_ms,
		.out_ms = defaults.server_out_ms,
		.copies = s->copies,
		.min_copies = s->min_copies,
		.name_key = s->name_key,
		.inline_bytes_max = INLINE_BYTES_MAX,
		.leases_max_per_session = LEASES_MAX_PER_SESSION,
		.parked_max = PARKED_MAX,
		.sessions_max = SESSIONS_MAX,
	};
}

int mkfs_metadata(const struct mkfs_options *o, struct super *out, struct error *err)
{
	struct disk *disks[MKFS_METADATA_DIRS_MAX] = {NULL};
	struct ms_format_options format = {.root_uid = geteuid(), .root_gid = getegid()};
	uint32_t opened = 0;
	int rc = new_cluster(o, &format.super, err);

	for (; rc == 0 && opened < o->metadata_dir_count; opened++)
		rc = open_folder(o->metadata_dirs[opened], &disks[opened], err);
	if (rc == 0) {
		format.wall_ns = format.super.made_ns;
		state_config(&format.super, &format.config);
		rc = ms_format(disks, o->metadata_dir_count, &format, err);
		if (rc < 0)
			(void)error_wrap(err, "cannot format '%s'", o->metadata_dirs[0]);
	}
	for (uint32_t i = 0; i < opened; i++)
		if (disks[i])
			disk_destroy(disks[i]);
	if (rc == 0)
		*out = format.super;
	return rc < 0 ? rc : 0;
}

/* --- chunk servers ---------------------------------------------------------------------------- */

static int format_disk(const struct super *cluster, const uint8_t server[UUID_BYTES],
		       const char *dir, struct error *err)
{
	struct super s = *cluster;
	struct disk *disk;
	int rc = open_folder(dir, &disk, err);

	if (rc < 0)
		return rc;
	s.role = SUPER_CHUNK;
	s.name_key = 0;
	s.made_ns = wall_ns();
	memcpy(s.server, server, sizeof s.server);
	rc = random_bytes(s.directory, sizeof s.directory, err);
	if (rc == 0) {
		rc = cs_format(disk, &s, err);
		if (rc < 0)
			(void)error_wrap(err, "cannot format '%s'", dir);
	}
	disk_destroy(disk);
	return rc < 0 ? rc : 0;
}

int mkfs_server(const struct super *cluster, const uint8_t *uuid, const char *const *disk_dirs,
		uint32_t count, struct error *err)
{
	uint8_t server[UUID_BYTES];
	int rc = 0;

	if (uuid)
		memcpy(server, uuid, sizeof server);
	else
		rc = random_bytes(server, sizeof server, err);

	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = format_disk(cluster, server, disk_dirs[i], err);
	return rc;
}

/* --- which cluster? --------------------------------------------------------------------------- */

static int cluster_of_server(const char *address, struct super *out, struct error *err)
{
	Wire__Status ask = WIRE__STATUS__INIT;
	ProtobufCMessage *reply = NULL;
	const Wire__HelloReply *hello;
	struct admin *a;
	int rc = admin_open(address, &a, err);

	if (rc < 0)
		return rc;
	rc = admin_call(a, MSG_STATUS, &ask.base, HELLO_MS, &reply, err);
	hello = rc == 0 ? admin_hello(a) : NULL;
	if (hello && hello->cluster.len == sizeof out->cluster) {
		memset(out, 0, sizeof *out);
		memcpy(out->cluster, hello->cluster.data, sizeof out->cluster);
		out->hash = (enum hash_kind)hello->hash;
		out->copies = (uint8_t)hello->copies;
		out->min_copies = (uint8_t)hello->min_copies;
		out->incompat = hello->incompat;
	} else if (rc == 0) {
		rc = error_say(err, -E_MALFORMED, "'%s' does not say which cluster it serves",
			       address);
	}
	msg_free(reply);
	admin_close(a);
	return rc;
}

int mkfs_cluster_of(const char *dir_or_address, struct super *out, struct error *err)
{
	struct disk *disk;
	struct stat st;
	int rc;

	if (stat(dir_or_address, &st) != 0 || !S_ISDIR(st.st_mode))
		return cluster_of_server(dir_or_address, out, err);
	rc = disk_posix_create(dir_or_address, &disk);
	if (rc < 0)
		return error_set(err, rc, "cannot use '%s'", dir_or_address);
	rc = ms_recover_super(disk, out, err);
	if (rc < 0)
		(void)error_wrap(err, "'%s'", dir_or_address);
	disk_destroy(disk);
	return rc;
}

/* --- the command ------------------------------------------------------------------------------ */

struct arguments {
	struct mkfs_options options;
	const char *join;
	bool recover;
	struct mkfs_recover_options from;
	char *servers[SERVERS_MAX]; /* "DIR,DIR": the disks of one chunk server each */
	uint32_t server_count;
};

static const struct argp_option argp_options[] = {
	{"metadata", 'm', "DIR", 0,
	 "metadata directory; again: a further journal directory on another disk", 0},
	{"disk", 'd', "DIR[,DIR...]", 0, "the disks of one chunk server; again: another server", 0},
	{"join", 'j', "DIR|HOST:PORT", 0,
	 "make disks for the cluster of this metadata directory or server", 0},
	{"recover", 'r', NULL, 0,
	 "make the metadata directory again from the copies on chunk servers", 0},
	{"from", 'f', "HOST:PORT|DIR[,...]", 0,
	 "with --recover: a chunk server, or offline its first chunk directory", 0},
	{"copies", 'c', "N", 0, "copies of each block (3)", 0},
	{"min-copies", 'M', "N", 0, "copies synced before a close returns (2, at most copies)", 0},
	{"hash", 'H', "NAME", 0, "block names: sha256 (default) or sha3-256", 0},
	{"acl", 'a', NULL, 0, "a file system with POSIX ACLs", 0},
	{0},
};

static uint8_t copies_argument(struct argp_state *state, const char *text)
{
	uint64_t n;

	if (text_parse_u64(text, &n) < 0 || n < 1 || n > COPIES_MAX)
		argp_error(state, "copies: wants a number from 1 to %u, not '%s'", COPIES_MAX,
			   text);
	return (uint8_t)n;
}

static void add_directory(struct argp_state *state, struct arguments *a, int key, char *text)
{
	if (key == 'm' && a->options.metadata_dir_count < MKFS_METADATA_DIRS_MAX)
		a->options.metadata_dirs[a->options.metadata_dir_count++] = text;
	else if (key == 'd' && a->server_count < SERVERS_MAX)
		a->servers[a->server_count++] = text;
	else
		argp_error(state, "too many directories");
}

static void add_sources(struct argp_state *state, struct arguments *a, char *list)
{
	char *one;

	while ((one = strsep(&list, ","))) {
		if (!*one)
			continue;
		if (a->from.source_count == MKFS_SOURCES_MAX)
			argp_error(state, "more than %u sources", MKFS_SOURCES_MAX);
		a->from.sources[a->from.source_count++] = one;
	}
}

static void check_arguments(struct argp_state *state, const struct arguments *a)
{
	if (a->recover &&
	    (!a->options.metadata_dir_count || !a->from.source_count || a->join || a->server_count))
		argp_error(state, "--recover wants --metadata DIR and --from, and nothing else");
	if (!a->recover && a->from.source_count)
		argp_error(state, "--from goes with --recover");
	if (!a->options.metadata_dir_count == !a->join)
		argp_error(state,
			   "wants --metadata DIR for a new cluster, or --join for an existing one");
	if (a->join && !a->server_count)
		argp_error(state, "--join wants at least one --disk");
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'm':
	case 'd':
		add_directory(state, a, key, text);
		break;
	case 'j':
		a->join = text;
		break;
	case 'r':
		a->recover = true;
		break;
	case 'f':
		add_sources(state, a, text);
		break;
	case 'c':
		a->options.copies = copies_argument(state, text);
		break;
	case 'M':
		a->options.min_copies = copies_argument(state, text);
		break;
	case 'a':
		a->options.with_acl = true;
		break;
	case 'H':
		if (block_id_hash_parse(text, &a->options.hash) < 0)
			argp_error(state, "unknown hash '%s': wants sha256 or sha3-256", text);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", text);
		break;
	case ARGP_KEY_END:
		check_arguments(state, a);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	argp_options,
	parse_option,
	"",
	"Create a cairn cluster: a metadata directory, and directories for chunk servers; or "
	"further chunk "
	"directories for one that exists. A directory that is formatted already is refused; but "
	"beside a disk of a "
	"chunk server that exists, --join makes further disks of that server."
	"\vThen start cairn-mds and cairn-cs on them; see mkfs.cairn(8). `cairn up` does all that "
	"on one host.",
	NULL,
	NULL,
	NULL};

/*
 * 1 and its superblock: `dir` is a chunk directory of this cluster already; 0: it is not formatted,
 * as far as we see.
 */
static int read_disk(const struct super *cluster, const char *dir, struct super *out,
		     struct error *err)
{
	struct error ignored = {0};
	struct disk *disk;
	int rc;

	if (disk_posix_create(dir, &disk) < 0)
		return 0;
	rc = cs_format_read(disk, out, &ignored);
	disk_destroy(disk);
	if (rc < 0)
		return 0; /* if there is something else, formatting refuses it */
	if (memcmp(out->cluster, cluster->cluster, sizeof out->cluster) != 0)
		return error_say(err, -E_WRONG_CLUSTER, "'%s' is a disk of another cluster", dir);
	return 1;
}

struct server_disks {
	const char *fresh[DISKS_MAX]; /* to be made */
	uint32_t fresh_count, count;
	uint8_t server[UUID_BYTES]; /* of those that are there */
	bool is_known;
};

static int add_disk(const struct super *cluster, bool join, struct server_disks *s, const char *dir,
		    struct error *err)
{
	struct super super;
	int rc;

	if (s->count++ == DISKS_MAX)
		return error_say(err, -E_TOOBIG, "at most %u disks of one server", DISKS_MAX);
	rc = join ? read_disk(cluster, dir, &super, err) : 0;
	if (rc < 0)
		return rc;
	if (rc == 0) {
		s->fresh[s->fresh_count++] = dir;
		return 0;
	}
	if (s->is_known && memcmp(s->server, super.server, sizeof s->server) != 0)
		return error_say(err, -E_INVAL,
				 "'%s' is a disk of another chunk server than the one before", dir);
	s->is_known = true;
	memcpy(s->server, super.server, sizeof s->server);
	return 0;
}

static int make_server(const struct super *cluster, bool join, char *list, struct error *err)
{
	struct server_disks s = {.count = 0};
	char *dir;

	while ((dir = strsep(&list, ","))) {
		int rc = *dir ? add_disk(cluster, join, &s, dir, err) : 0;
		if (rc < 0)
			return rc;
	}
	if (s.is_known && !s.fresh_count)
		return error_say(err, -E_NOT_EMPTY, "all disks are formatted already");
	return mkfs_server(cluster, s.is_known ? s.server : NULL, s.fresh, s.fresh_count, err);
}

static int make_metadata(struct arguments *a, struct super *cluster, struct error *err)
{
	if (a->join)
		return mkfs_cluster_of(a->join, cluster, err);
	if (!a->recover)
		return mkfs_metadata(&a->options, cluster, err);
	memcpy(a->from.metadata_dirs, a->options.metadata_dirs, sizeof a->from.metadata_dirs);
	a->from.metadata_dir_count = a->options.metadata_dir_count;
	return mkfs_recover(&a->from, cluster, err);
}

int mkfs_run(int argc, char **argv)
{
	struct arguments a = {.options.copies = 3};
	struct super cluster = {0};
	struct error err = {0};
	char id[2 * UUID_BYTES + 1];
	int rc;

	argp_err_exit_status = 2;
	if (argp_parse(&argp, argc, argv, 0, NULL, &a) != 0)
		return 2;
	rc = make_metadata(&a, &cluster, &err);
	for (uint32_t i = 0; rc == 0 && i < a.server_count; i++)
		rc = make_server(&cluster, a.join != NULL, a.servers[i], &err);
	if (rc < 0) {
		fprintf(stderr, "mkfs.cairn: %s\n", err.text);
		return 1;
	}
	text_hex(id, cluster.cluster, sizeof cluster.cluster);
	printf("cluster %s: %u copies, at least %u synced, %s%s\n", id, cluster.copies,
	       cluster.min_copies, cluster.hash == HASH_SHA3_256 ? "SHA3-256" : "SHA-256",
	       cluster.incompat & SUPER_INCOMPAT_ACL ? ", ACLs" : "");
	return 0;
}

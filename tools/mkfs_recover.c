/* SPDX-License-Identifier: Apache-2.0 */
/* Asking for copies, fetching and proving them, writing the new directory. */
#include "tools/mkfs_recover.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/disk/segment.h"
#include "fs/io/disk.h"
#include "fs/placement/map.h"
#include "metadata-server/key.h"
#include "metadata-server/rescue.h"
#include "tools/admin.h"
#include "tools/remove_tree.h"

#define ASK_MS	       5000u
#define ALIVE_MS       1000u
#define ROWS_BYTES_MAX GiB(1024) /* of address space */
#define PIECE_BYTES    65536u
#define SCRATCH	       "recover.tmp" /* in the new directory: fetched files, rows */

struct source {
	char where[SERVER_ADDRESS_BYTES_MAX > PATH_MAX ? SERVER_ADDRESS_BYTES_MAX : PATH_MAX];
	struct disk *disk;	     /* of a directory; NULL: an address */
	struct ms_rescue_file claim; /* the newest of its files */
	bool has_claim, is_tried;
};

struct recovery {
	const struct mkfs_recover_options *options;
	struct admin *admin;
	uint8_t cluster[16];
	struct source *sources; /* MKFS_SOURCES_MAX */
	uint32_t count;
	char scratch[PATH_MAX];
	struct disk *fetched; /* scratch: "meta/" of the source in work */
	struct rows *rows;
	struct source *best, *loaded; /* of what the rows hold */
	struct ms_rescue found;	      /* of best */
};

/* --- asking ----------------------------------------------------------------------------------- */

static void claim(struct source *s, const char *name, uint64_t bytes)
{
	struct ms_rescue_file file;

	if (!ms_rescue_parse(name, &file))
		return;
	file.bytes = bytes;
	if (!s->has_claim || ms_rescue_compare(&file, &s->claim) > 0)
		s->claim = file;
	s->has_claim = true;
}

static int check_cluster(struct recovery *r, const struct source *s, const uint8_t cluster[16],
			 struct error *err)
{
	static const uint8_t none[16];

	if (memcmp(r->cluster, none, sizeof none) == 0)
		memcpy(r->cluster, cluster, sizeof r->cluster);
	if (memcmp(r->cluster, cluster, sizeof r->cluster) != 0)
		return error_say(err, -E_WRONG_CLUSTER, "'%s' belongs to another cluster",
				 s->where);
	return 0;
}

struct dir_claims {
	struct source *source;
	struct disk *disk;
};

static void claim_file(void *arg, const char *name)
{
	struct dir_claims *c = arg;
	struct disk_file *file;
	char path[MS_RESCUE_NAME_BYTES + 8];
	uint64_t bytes = 0;

	(void)snprintf(path, sizeof path, MS_RESCUE_DIR "/%s", name);
	if (disk_open(c->disk, path, DISK_READ, &file) < 0)
		return;
	if (disk_size(file, &bytes) == 0)
		claim(c->source, name, bytes);
	disk_close(file);
}

static int ask_directory(struct recovery *r, struct source *s, struct error *err)
{
	struct dir_claims c = {s, s->disk};
	uint8_t bytes[SUPER_BYTES];
	struct super super;
	int rc = disk_read_file(s->disk, SUPER_FILE, bytes, sizeof bytes);

	if (rc >= 0)
		rc = rc == (int)sizeof bytes ? super_decode(bytes, &super) : -E_MALFORMED;
	if (rc < 0)
		return error_set(err, rc, "superblock of '%s'", s->where);
	if (super.role != SUPER_CHUNK)
		return error_say(err, -E_INVAL, "'%s' is no chunk directory", s->where);
	rc = check_cluster(r, s, super.cluster, err);
	if (rc < 0)
		return rc;
	rc = disk_list(s->disk, MS_RESCUE_DIR, claim_file, &c);
	return rc < 0 && rc != -E_NOENT
		       ? error_set(err, rc, "cannot list the copies in '%s'", s->where)
		       : 0;
}

static int open_admin(struct recovery *r, const char *address, struct error *err)
{
	return r->admin ? 0 : admin_open(address, &r->admin, err);
}

static int list_of(struct recovery *r, const char *address, Wire__MetaListReply **out,
		   struct error *err)
{
	Wire__MetaList ask = WIRE__META_LIST__INIT;
	struct admin_question q = {address, MSG_META_LIST, &ask.base, ASK_MS, NULL};
	ProtobufCMessage *reply = NULL;
	int rc = open_admin(r, address, err);

	if (rc >= 0)
		rc = admin_ask(r->admin, &q, &reply, err);
	*out = (Wire__MetaListReply *)(void *)reply;
	return rc < 0  ? rc
	       : reply ? 0
		       : error_say(err, -E_MALFORMED, "'%s' gives no answer", address);
}

static int ask_address(struct recovery *r, struct source *s, struct error *err)
{
	Wire__MetaListReply *reply;
	const Wire__HelloReply *hello;
	int rc = list_of(r, s->where, &reply, err);

	if (rc < 0)
		return rc;
	hello = admin_hello_at(r->admin, s->where);
	rc = hello && hello->cluster.len == sizeof r->cluster
		     ? check_cluster(r, s, hello->cluster.data, err)
		     : error_say(err, -E_MALFORMED, "'%s' does not say which cluster it serves",
				 s->where);
	for (size_t i = 0; i < reply->n_files && rc == 0; i++)
		if (reply->files[i]->complete)
			claim(s, reply->files[i]->name, reply->files[i]->bytes);
	msg_free(&reply->base);
	return rc;
}

/* One that does not answer may be the one that knows most: say so, and go on with the others. */
static void ask(struct recovery *r, struct source *s)
{
	struct error err = {0};
	int rc = s->disk ? ask_directory(r, s, &err) : ask_address(r, s, &err);

	if (rc < 0) {
		printf("%s: %s\n", s->where, err.text);
		s->has_claim = false;
	} else if (!s->has_claim) {
		printf("%s: keeps no copy\n", s->where);
	} else {
		printf("%s: has a copy, newest file %" PRIu64 "-%" PRIu64 ".%s of %" PRIu64
		       " bytes\n",
		       s->where, s->claim.term, s->claim.number,
		       s->claim.is_snapshot ? "snapshot" : "journal", s->claim.bytes);
	}
}

static bool is_known(const struct recovery *r, const char *where)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (strcmp(r->sources[i].where, where) == 0)
			return true;
	return false;
}

static int add_source(struct recovery *r, const char *where, struct error *err)
{
	struct source *s = &r->sources[r->count];
	struct stat st;
	int rc;

	if (is_known(r, where))
		return 0;
	if (r->count == MKFS_SOURCES_MAX)
		return error_say(err, -E_TOOBIG, "more than %u sources", MKFS_SOURCES_MAX);
	*s = (struct source){.disk = NULL};
	(void)snprintf(s->where, sizeof s->where, "%s", where);
	if (stat(where, &st) == 0 && S_ISDIR(st.st_mode)) {
		rc = disk_posix_create(where, &s->disk);
		if (rc < 0)
			return error_set(err, rc, "cannot open '%s'", where);
	}
	r->count++;
	ask(r, s);
	return 0;
}

/* --- fetching --------------------------------------------------------------------------------- */

static int fetch_pieces(struct recovery *r, const struct source *s, const char *name,
			struct disk_file *file, struct error *err)
{
	Wire__MetaGet get = WIRE__META_GET__INIT;

	get.name = (char *)(uintptr_t)name;
	for (;;) {
		ProtobufCMessage *reply = NULL;
		struct buf *bulk = NULL;
		struct admin_question q = {s->where, MSG_META_GET, &get.base, ASK_MS, &bulk};
		uint32_t len;
		int rc = admin_ask(r->admin, &q, &reply, err);

		msg_free(reply);
		if (rc < 0)
			return rc;
		len = bulk ? bulk->len : 0;
		rc = len ? disk_write(file, bulk->data, len, get.offset) : 0;
		buf_put(bulk);
		if (rc < 0)
			return error_set(err, rc, "cannot write '%s'", name);
		get.offset += len;
		if (len < PIECE_BYTES)
			return 0;
	}
}

static int fetch_file(struct recovery *r, const struct source *s, const char *name,
		      struct error *err)
{
	char path[MS_RESCUE_NAME_BYTES + 8];
	struct disk_file *file;
	int rc;

	(void)snprintf(path, sizeof path, MS_RESCUE_DIR "/%s", name);
	rc = disk_open(r->fetched, path, DISK_WRITE | DISK_CREATE, &file);
	if (rc < 0)
		return error_set(err, rc, "cannot create '%s'", path);
	rc = fetch_pieces(r, s, name, file, err);
	disk_close(file);
	return rc;
}

static void unlink_fetched(void *arg, const char *name)
{
	char path[NAME_BYTES_MAX + 8];

	(void)snprintf(path, sizeof path, MS_RESCUE_DIR "/%s", name);
	(void)!disk_unlink(arg, path); /* if it stays, its checks fail */
}

static int fetch(struct recovery *r, const struct source *s, struct error *err)
{
	Wire__MetaListReply *reply;
	int rc = disk_list(r->fetched, MS_RESCUE_DIR, unlink_fetched, r->fetched);

	if (rc < 0)
		return error_set(err, rc, "cannot empty '%s'", r->scratch);
	rc = list_of(r, s->where, &reply, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < reply->n_files && rc == 0; i++) {
		struct ms_rescue_file ignored;

		if (reply->files[i]->complete && ms_rescue_parse(reply->files[i]->name, &ignored))
			rc = fetch_file(r, s, reply->files[i]->name, err);
	}
	msg_free(&reply->base);
	return rc;
}

/* --- the best --------------------------------------------------------------------------------- */

/* Into the rows: what was there before is gone. */
static int load(struct recovery *r, struct source *s, struct ms_rescue *out, struct error *err)
{
	int rc = s->disk ? 0 : fetch(r, s, err);

	r->loaded = NULL;
	if (rc == 0)
		rc = ms_rescue_load(s->disk ? s->disk : r->fetched, r->cluster, r->rows, out, err);
	if (rc == 0)
		r->loaded = s;
	return rc;
}

static struct source *next_source(struct recovery *r)
{
	struct source *next = NULL;

	for (uint32_t i = 0; i < r->count; i++) {
		struct source *s = &r->sources[i];

		if (!s->has_claim || s->is_tried)
			continue;
		if (!next || ms_rescue_compare(&s->claim, &next->claim) > 0)
			next = s;
	}
	return next;
}

static bool is_newer(const struct ms_rescue *a, const struct ms_rescue *b)
{
	return a->term != b->term ? a->term > b->term : a->number > b->number;
}

/* Try sources until one keeps what it promises: the others promise less. */
static void try_sources(struct recovery *r)
{
	struct source *s;

	while ((s = next_source(r))) {
		struct ms_rescue found;
		struct error err = {0};

		s->is_tried = true;
		if (r->best && !r->found.is_cut &&
		    ms_rescue_compare(&s->claim, &r->best->claim) <= 0)
			continue;
		if (load(r, s, &found, &err) < 0) {
			printf("%s: %s\n", s->where, err.text);
			continue;
		}
		printf("%s: good up to change %" PRIu64 " of term %" PRIu64 "%s%s\n", s->where,
		       found.number, found.term, found.is_cut ? "; " : "",
		       found.is_cut ? found.why : "");
		if (!r->best || is_newer(&found, &r->found)) {
			r->best = s;
			r->found = found;
		}
	}
}

/* Servers that the recovered map names, if we talk to servers at all. */
static int add_from_map(struct recovery *r, struct error *err)
{
	char addresses[MKFS_SOURCES_MAX][SERVER_ADDRESS_BYTES_MAX];
	struct ms_key at = ms_key_one(MS_KEY_SERVER);
	uint32_t count = 0;
	struct row row;

	while (r->admin && rows_next(r->rows, at.bytes, at.len, &row) == 0 &&
	       row.key[0] == MS_KEY_SERVER) {
		struct server_row server;

		if (row.key_len >= sizeof at.bytes ||
		    server_row_decode(row.value, row.value_len, &server) < 0)
			break;
		if (server.state != SERVER_REMOVED && !is_known(r, server.address) &&
		    r->count + count < MKFS_SOURCES_MAX)
			memcpy(addresses[count++], server.address, sizeof server.address);
		memcpy(at.bytes, row.key, row.key_len);
		at.bytes[row.key_len] = 0;
		at.len = row.key_len + 1;
	}
	for (uint32_t i = 0; i < count; i++) {
		int rc = add_source(r, addresses[i], err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int find_best(struct recovery *r, struct error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < r->options->source_count && rc == 0; i++)
		rc = add_source(r, r->options->sources[i], err);
	if (rc < 0)
		return rc;
	try_sources(r);
	if (r->best) {
		rc = add_from_map(r, err);
		if (rc < 0)
			return rc;
		try_sources(r);
	}
	if (!r->best)
		return error_say(err, -E_NOENT, "none of the sources has a copy that can be used");
	return r->loaded == r->best ? 0 : load(r, r->best, &r->found, err);
}

/* --- the new directory ------------------------------------------------------------------------ */

static int open_folder(const char *path, struct disk **out, struct error *err)
{
	int rc;

	if (mkdir(path, 0750) != 0 && errno != EEXIST)
		return error_set(err, error_from_errno(errno), "cannot create '%s'", path);
	rc = disk_posix_create(path, out);
	return rc < 0 ? error_set(err, rc, "cannot use '%s'", path) : 0;
}

static int refuse_formatted(struct disk *disk, const char *path, struct error *err)
{
	struct disk_file *file;

	if (disk_open(disk, SUPER_FILE, DISK_READ, &file) < 0)
		return 0;
	disk_close(file);
	return error_say(err, -E_NOT_EMPTY,
			 "'%s' is formatted already: recover into an empty directory, "
			 "and keep what is there",
			 path);
}

static int open_scratch(struct recovery *r, struct error *err)
{
	char rows[PATH_MAX + 8];
	struct error ignored;
	int rc;

	if (snprintf(r->scratch, sizeof r->scratch, "%s/" SCRATCH, r->options->metadata_dirs[0]) >=
	    (int)sizeof r->scratch - 8)
		return error_say(err, -E_NAMETOOLONG, "'%s' is too long",
				 r->options->metadata_dirs[0]);
	(void)!remove_tree(r->scratch, &ignored); /* of an attempt that was interrupted */
	rc = open_folder(r->scratch, &r->fetched, err);
	if (rc < 0)
		return rc;
	(void)snprintf(rows, sizeof rows, "%s/rows", r->scratch);
	rc = disk_mkdir(r->fetched, MS_RESCUE_DIR);
	if (rc >= 0)
		rc = disk_mkdir(r->fetched, "rows");
	if (rc >= 0)
		rc = rows_lmdb_create(rows, ROWS_BYTES_MAX, &r->rows);
	return rc < 0 ? error_set(err, rc, "cannot use '%s'", r->scratch) : 0;
}

static void report(const struct recovery *r)
{
	time_t at = (time_t)(r->found.wall_ns / 1000000000u);
	char text[64] = "the moment of its snapshot";
	struct tm tm;

	if (r->found.wall_ns && localtime_r(&at, &tm))
		(void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z", &tm);
	printf("recovered from %s: all changes of names and small files up to %s (change %" PRIu64
	       ")\n",
	       r->best->where, text, r->found.number);
	if (r->found.is_cut)
		printf("more was there but cannot be used: %s\n", r->found.why);
	printf("what happened later is lost: files made or changed then are missing or as they "
	       "were, "
	       "files removed then are back\n"
	       "start cairn-mds on it, wait for the mounts to come back, and run fsck.cairn "
	       "--live\n");
}

static int write_directories(struct recovery *r, struct disk **disks, struct error *err)
{
	struct timespec now;
	int rc;

	clock_gettime(CLOCK_REALTIME, &now);
	r->found.now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	r->found.super.made_ns = r->found.now_ns;
	rc = ms_rescue_jump(r->rows, &r->found, err);
	if (rc < 0)
		return rc;
	if (getrandom(r->found.super.directory, sizeof r->found.super.directory, 0) < 0)
		return error_set(err, -E_IO, "cannot get random bytes");
	return ms_rescue_write(disks, r->options->metadata_dir_count, r->rows, &r->found, err);
}

/*
 * The lost server answers where this host looks for it: it is not lost, and two of them would give
 * out the same names. One that runs elsewhere cannot be seen from here.
 */
static int refuse_alive(struct recovery *r, struct error *err)
{
	Wire__Status ask = WIRE__STATUS__INIT;
	ProtobufCMessage *reply = NULL;
	const Wire__HelloReply *hello;
	struct error ignored = {0};
	char address[256];
	struct admin_question q = {address, MSG_STATUS, &ask.base, ALIVE_MS, NULL};
	int rc = admin_find(NULL, address, sizeof address, &ignored);

	if (rc == 0)
		rc = open_admin(r, address, &ignored);
	if (rc == 0)
		rc = admin_ask(r->admin, &q, &reply, &ignored);
	if (rc < 0)
		return 0;
	msg_free(reply);
	hello = admin_hello_at(r->admin, address);
	if (!hello || hello->cluster.len != sizeof r->cluster ||
	    memcmp(hello->cluster.data, r->cluster, sizeof r->cluster) != 0)
		return 0;
	return error_say(err, -E_BUSY,
			 "the metadata server of this cluster is alive, at '%s': stop it first",
			 address);
}

static int recover_into(struct recovery *r, struct disk **disks, struct error *err)
{
	int rc = open_scratch(r, err);

	if (rc == 0)
		rc = find_best(r, err);
	if (rc == 0)
		rc = refuse_alive(r, err);
	return rc == 0 ? write_directories(r, disks, err) : rc;
}

static void close_all(struct recovery *r)
{
	struct error ignored;

	if (r->rows)
		rows_destroy(r->rows);
	if (r->fetched)
		disk_destroy(r->fetched);
	if (r->fetched)
		(void)!remove_tree(r->scratch, &ignored); /* harmless if it stays */
	for (uint32_t i = 0; i < r->count; i++)
		if (r->sources[i].disk)
			disk_destroy(r->sources[i].disk);
	free(r->sources);
	admin_close(r->admin);
}

int mkfs_recover(const struct mkfs_recover_options *options, struct super *out, struct error *err)
{
	struct recovery r = {.options = options};
	struct disk *disks[MKFS_METADATA_DIRS_MAX] = {NULL};
	int rc = 0;

	r.sources = calloc(MKFS_SOURCES_MAX, sizeof *r.sources);
	if (!r.sources)
		return error_set(err, -E_NOMEM, "cannot recover");
	for (uint32_t i = 0; i < options->metadata_dir_count && rc == 0; i++) {
		rc = open_folder(options->metadata_dirs[i], &disks[i], err);
		if (rc == 0)
			rc = refuse_formatted(disks[i], options->metadata_dirs[i], err);
	}
	if (rc == 0)
		rc = recover_into(&r, disks, err);
	if (rc == 0) {
		*out = r.found.super;
		report(&r);
	}
	close_all(&r);
	for (uint32_t i = 0; i < options->metadata_dir_count; i++)
		if (disks[i])
			disk_destroy(disks[i]);
	return rc;
}

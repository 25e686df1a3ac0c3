/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of metadata: files that the metadata server keeps here, "meta/NAME". We know of their
 * names only that TERM-NUMBER.snapshot and TERM-NUMBER.journal sort by their numbers: the last two
 * snapshots stay, and the journals since the older of them.
 *
 * A file grows as NAME.part, piece by piece, and takes its name, synced, with the last one. A whole
 * file may grow further at its end (the journal does). Every piece may be sent again.
 *
 * The disk's calls run on a worker, one request at a time, in order of arrival.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "chunk-server/serve_internal.h"
#include "fs/base/text.h"

#define META_DIR	"meta"
#define META_PART	".part"
#define META_NAME_MAX	64u
#define META_PATH_BYTES 80u
#define META_FILES_MAX	1024u
#define META_READ_BYTES 65536u

struct meta_file {
	char name[META_NAME_MAX + 1];
	uint64_t bytes;
	bool is_part;
};

struct meta_job {
	struct meta_job *prev, *next;
	struct rpc_request *req;
	struct buf *bulk;	 /* of the answer */
	uint64_t bytes;		 /* size of the file */
	struct meta_file *files; /* LIST */
	uint32_t file_count;
	int rc;
};

struct meta {
	struct cs_server *server;
	struct disk *disk;
	struct meta_job jobs[SERVE_METAS_MAX];
	struct meta_job *free, *queue;
	struct meta_job *running;
	struct loop_work work;
};

/* --- names ---- */

static bool name_is_good(const char *name)
{
	size_t len = strlen(name);
	size_t suffix = strlen(META_PART);

	if (len < 1 || len > META_NAME_MAX || name[0] == '.' || name[0] == '-')
		return false;
	if (len >= suffix && strcmp(name + len - suffix, META_PART) == 0)
		return false;
	return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-") ==
	       len;
}

static void path_of(char out[META_PATH_BYTES], const char *name, const char *suffix)
{
	int len = snprintf(out, META_PATH_BYTES, META_DIR "/%s%s", name, suffix);

	ASSERT(len > 0 && (uint32_t)len < META_PATH_BYTES);
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), suffix_len = strlen(suffix);

	return len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

/* Compare numbers of any base, written without sign, up to `end`; leading zeros do not count. */
static int digits_compare(const char *a, const char *b, const char *end)
{
	a += strspn(a, "0");
	b += strspn(b, "0");
	size_t a_len = strcspn(a, end), b_len = strcspn(b, end);
	if (a_len != b_len)
		return a_len < b_len ? -1 : 1;
	return strncmp(a, b, a_len);
}

/* By term, then number: names are TERM-NUMBER.suffix. */
static int name_compare(const char *a, const char *b)
{
	int order = digits_compare(a, b, "-");
	const char *a_number = strchr(a, '-'), *b_number = strchr(b, '-');

	if (order != 0 || a_number == NULL || b_number == NULL)
		return order;
	return digits_compare(a_number + 1, b_number + 1, ".");
}

/* --- files, on the worker ---- */

struct lister {
	struct meta_file *files;
	uint32_t count;
};

static void list_fn(void *arg, const char *name)
{
	struct lister *lister = arg;
	char stem[META_NAME_MAX + sizeof(META_PART)];

	if (lister->count == META_FILES_MAX || !text_copy(stem, sizeof(stem), name))
		return;
	bool is_part = has_suffix(stem, META_PART);
	if (is_part)
		stem[strlen(stem) - strlen(META_PART)] = '\0';
	if (!name_is_good(stem))
		return;
	struct meta_file *file = &lister->files[lister->count++];
	(void)text_copy(file->name, sizeof(file->name), stem);
	file->is_part = is_part;
}

/* All files, at most META_FILES_MAX; the caller frees *out. */
static int list_files(struct disk *disk, struct meta_file **out, uint32_t *count)
{
	struct lister lister = {.files = calloc(META_FILES_MAX, sizeof(struct meta_file))};

	if (lister.files == NULL)
		return -E_NOMEM;
	int rc = disk_list(disk, META_DIR, list_fn, &lister);
	if (rc < 0) {
		free(lister.files);
		return rc;
	}
	*out = lister.files;
	*count = lister.count;
	return 0;
}

static int file_compare(const void *a, const void *b)
{
	const struct meta_file *x = a, *y = b;

	return -name_compare(x->name, y->name);
}

static int remove_file(struct disk *disk, const char *name)
{
	char path[META_PATH_BYTES];

	path_of(path, name, "");
	return disk_unlink(disk, path);
}

/* Keep the last two snapshots, and what of the journal the older one needs. */
static int prune(struct disk *disk)
{
	struct meta_file *files;
	uint32_t count;
	const char *oldest = NULL;
	uint32_t snapshots = 0, journals = 0;
	int rc = list_files(disk, &files, &count);

	if (rc < 0)
		return rc;
	qsort(files, count, sizeof(*files), file_compare); /* newest first */
	for (uint32_t i = 0; i < count && rc == 0; i++) {
		if (files[i].is_part || !has_suffix(files[i].name, ".snapshot"))
			continue;
		if (++snapshots == 2)
			oldest = files[i].name;
		else if (snapshots > 2)
			rc = remove_file(disk, files[i].name);
	}
	for (uint32_t i = 0; oldest != NULL && i < count && rc == 0; i++) {
		if (files[i].is_part || !has_suffix(files[i].name, ".journal") ||
		    name_compare(files[i].name, oldest) > 0)
			continue;
		/* The newest that begins before the snapshot may reach beyond it. */
		if (++journals > 1)
			rc = remove_file(disk, files[i].name);
	}
	free(files);
	return rc;
}

/* A piece of a file that has its name already: news at its end, or a piece sent again. */
static int extend(struct disk *disk, const char *name, const struct buf *bulk, uint64_t offset)
{
	char path[META_PATH_BYTES];
	struct disk_file *file;
	uint64_t bytes = 0;

	path_of(path, name, "");
	int rc = disk_open(disk, path, DISK_WRITE, &file);
	if (rc < 0)
		return rc;
	rc = disk_size(file, &bytes);
	if (rc == 0 && offset > bytes)
		rc = -E_INVAL;
	if (rc == 0 && bulk != NULL)
		rc = disk_write(file, bulk->data, bulk->len, offset);
	if (rc >= 0)
		rc = disk_sync(file);
	disk_close(file);
	return rc;
}

static int write_piece(struct disk_file *file, const struct buf *bulk, uint64_t offset, bool last)
{
	uint64_t bytes;
	int rc = disk_size(file, &bytes);

	if (rc == 0 && offset > bytes)
		rc = -E_INVAL;
	if (rc == 0)
		rc = disk_truncate(file, offset);
	if (rc == 0 && bulk != NULL)
		rc = disk_write(file, bulk->data, bulk->len, offset);
	if (rc >= 0)
		rc = last ? disk_sync(file) : 0;
	return rc;
}

static int put(struct disk *disk, const Wire__MetaPut *msg, const struct buf *bulk)
{
	char part[META_PATH_BYTES], path[META_PATH_BYTES];
	struct disk_file *file;

	if (!name_is_good(msg->name))
		return -E_INVAL;
	path_of(part, msg->name, META_PART);
	path_of(path, msg->name, "");
	int rc = disk_open(disk, part, msg->offset == 0 ? DISK_WRITE | DISK_CREATE : DISK_WRITE,
			   &file);
	if (rc == -E_NOENT)
		return extend(disk, msg->name, bulk, msg->offset);
	if (rc < 0)
		return rc;
	rc = write_piece(file, bulk, msg->offset, msg->last);
	disk_close(file);
	if (rc < 0 || !msg->last)
		return rc;
	rc = disk_rename(disk, part, path);
	if (rc == 0)
		rc = disk_sync_dir(disk, META_DIR);
	if (rc == 0 && has_suffix(msg->name, ".snapshot"))
		rc = prune(disk);
	return rc;
}

static int get(struct disk *disk, const Wire__MetaGet *msg, struct meta_job *job)
{
	char path[META_PATH_BYTES];
	struct disk_file *file;

	if (!name_is_good(msg->name))
		return -E_INVAL;
	path_of(path, msg->name, "");
	int rc = disk_open(disk, path, DISK_READ, &file);
	if (rc < 0)
		return rc;
	rc = disk_size(file, &job->bytes);
	if (rc == 0)
		rc = disk_read(file, job->bulk->data, META_READ_BYTES, msg->offset);
	disk_close(file);
	if (rc < 0)
		return rc;
	job->bulk->len = (uint32_t)rc;
	return 0;
}

static int list(struct disk *disk, struct meta_job *job)
{
	int rc = list_files(disk, &job->files, &job->file_count);

	for (uint32_t i = 0; i < job->file_count && rc == 0; i++) {
		char path[META_PATH_BYTES];
		struct disk_file *file;
		path_of(path, job->files[i].name, job->files[i].is_part ? META_PART : "");
		rc = disk_open(disk, path, DISK_READ, &file);
		if (rc < 0)
			break;
		rc = disk_size(file, &job->files[i].bytes);
		disk_close(file);
	}
	return rc;
}

static void meta_run(struct loop_work *work)
{
	struct meta *meta = container_of(work, struct meta, work);
	struct meta_job *job = meta->running;
	const ProtobufCMessage *msg = job->req->msg;

	if (job->req->header.type == MSG_META_PUT)
		job->rc = put(meta->disk, (const Wire__MetaPut *)msg, job->req->bulk);
	else if (job->req->header.type == MSG_META_GET)
		job->rc = get(meta->disk, (const Wire__MetaGet *)msg, job);
	else
		job->rc = list(meta->disk, job);
}

/* --- requests ---- */

static void answer_list(struct meta_job *job)
{
	Wire__MetaListReply reply = WIRE__META_LIST_REPLY__INIT;
	Wire__MetaFile *files = calloc(MAX_OF(job->file_count, 1u), sizeof(*files));
	Wire__MetaFile **list = calloc(MAX_OF(job->file_count, 1u), sizeof(*list));
	int rc = files == NULL || list == NULL ? -E_NOMEM : 0;

	for (uint32_t i = 0; rc == 0 && i < job->file_count; i++) {
		wire__meta_file__init(&files[i]);
		files[i].name = job->files[i].name;
		files[i].bytes = job->files[i].bytes;
		files[i].complete = !job->files[i].is_part;
		list[i] = &files[i];
	}
	reply.files = list;
	reply.n_files = rc == 0 ? job->file_count : 0;
	if (rc == 0 && msg_packed_bytes(&reply.base) > MESSAGE_BYTES_MAX)
		rc = -E_TOOBIG;
	rpc_answer(job->req, rc, rc == 0 ? &reply.base : NULL, NULL);
	free(files);
	free(list);
}

static void answer(struct meta_job *job)
{
	Wire__Empty empty = WIRE__EMPTY__INIT;
	Wire__MetaGetReply got = WIRE__META_GET_REPLY__INIT;

	got.bytes = job->bytes;
	if (job->rc < 0)
		rpc_answer(job->req, job->rc, NULL, NULL);
	else if (job->req->header.type == MSG_META_PUT)
		rpc_answer(job->req, 0, &empty.base, NULL);
	else if (job->req->header.type == MSG_META_GET)
		rpc_answer(job->req, 0, &got.base, job->bulk->len > 0 ? job->bulk : NULL);
	else
		answer_list(job);
	buf_put(job->bulk);
	free(job->files);
}

static void run_next(struct meta *meta);

static void meta_done(struct loop_work *work)
{
	struct meta *meta = container_of(work, struct meta, work);
	struct meta_job *job = meta->running;

	meta->running = NULL;
	answer(job);
	LL_PREPEND(meta->free, job);
	run_next(meta);
}

static void run_next(struct meta *meta)
{
	if (meta->running != NULL || meta->queue == NULL)
		return;
	meta->running = meta->queue;
	DL_DELETE(meta->queue, meta->running);
	meta->work.run = meta_run;
	meta->work.done = meta_done;
	loop_work(meta->server->options.loop, &meta->work);
}

void cs_meta_serve(struct cs_server *s, struct rpc_request *req)
{
	struct meta *meta = s->meta;
	struct meta_job *job = meta->free;
	struct buf *bulk = NULL;

	if (job != NULL && req->header.type == MSG_META_GET) {
		bulk = buf_get(s->options.pool, META_READ_BYTES);
		if (bulk == NULL)
			job = NULL;
	}
	if (job == NULL) {
		rpc_answer(req, -E_OVERLOADED, NULL, NULL);
		return;
	}
	LL_DELETE(meta->free, job);
	*job = (struct meta_job){.req = req, .bulk = bulk};
	DL_APPEND(meta->queue, job);
	run_next(meta);
}

bool cs_meta_is_idle(const struct cs_server *s)
{
	return s->meta->running == NULL && s->meta->queue == NULL;
}

int cs_meta_create(struct cs_server *s)
{
	struct meta *meta = calloc(1, sizeof(*meta));

	if (meta == NULL)
		return -E_NOMEM;
	meta->server = s;
	meta->disk = s->options.disks[0].disk;
	for (uint32_t i = 0; i < SERVE_METAS_MAX; i++)
		LL_PREPEND(meta->free, &meta->jobs[i]);
	int rc = disk_mkdir(meta->disk, META_DIR);
	if (rc < 0) {
		free(meta);
		return rc;
	}
	s->meta = meta;
	return 0;
}

static void job_drop(struct meta_job *job)
{
	rpc_answer(job->req, -E_SHUTDOWN, NULL, NULL);
	buf_put(job->bulk);
	free(job->files);
}

void cs_meta_destroy(struct cs_server *s)
{
	struct meta_job *job;

	if (s->meta == NULL)
		return;
	if (s->meta->running != NULL)
		job_drop(s->meta->running);
	DL_FOREACH (s->meta->queue, job)
		job_drop(job);
	free(s->meta);
	s->meta = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of metadata: files that the metadata server keeps here, "meta/TERM-NUMBER.snapshot" and
 * "meta/TERM-NUMBER.journal" (decimal). We know of them only that they sort by term, then number:
 * the last two snapshots stay, and the journals since the older of them.
 *
 * A snapshot grows as NAME.part, piece by piece, and takes its name, synced, with the last one. A
 * journal grows under its name, and each piece is synced before it is answered. Every piece may be
 * sent again; one that would leave a hole is refused. What is here when the server starts is synced
 * before anybody is told of it; a file whose sync failed is removed (I4).
 *
 * The disk's calls run on a worker, one request at a time, in order of arrival; but pieces of a
 * journal that follow each other are one request: they are synced together, then answered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "chunk-server/serve_internal.h"
#include "fs/base/log.h"
#include "fs/base/text.h"

#define LOG_MODULE "meta"

#define META_DIR	"meta"
#define META_PART	".part"
#define META_NAME_MAX	64u
#define META_PATH_BYTES 80u
#define META_FILES_MAX	768u /* their list fits one message */
#define META_NEW_MAX	512u /* from so many on no new one is begun */
#define META_SNAPSHOT	".snapshot"
#define META_JOURNAL	".journal"
#define META_DIGITS_MAX 20u
#define META_KEPT	2u /* snapshots */
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
	struct meta_job *running; /* one, or pieces that follow each other */
	struct loop_work work;
	int rc; /* of its start: the answer to all, if it failed */
};

/* --- names ---- */

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), suffix_len = strlen(suffix);

	return len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

/* TERM-NUMBER.snapshot or TERM-NUMBER.journal, and nothing else. */
static bool name_is_good(const char *name)
{
	size_t term = strspn(name, "0123456789");
	if (term < 1 || term > META_DIGITS_MAX || name[term] != '-')
		return false;
	name += term + 1;
	size_t number = strspn(name, "0123456789");
	if (number < 1 || number > META_DIGITS_MAX)
		return false;
	return strcmp(name + number, META_SNAPSHOT) == 0 ||
	       strcmp(name + number, META_JOURNAL) == 0;
}

static void path_of(char out[META_PATH_BYTES], const char *name, const char *suffix)
{
	int len = snprintf(out, META_PATH_BYTES, META_DIR "/%s%s", name, suffix);

	ASSERT(len > 0 && (uint32_t)len < META_PATH_BYTES);
}

/* Compare numbers, written without sign, up to `end`; leading zeros do not count. */
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

static int remove_file(struct disk *disk, const struct meta_file *file)
{
	char path[META_PATH_BYTES];

	path_of(path, file->name, file->is_part ? META_PART : "");
	return disk_unlink(disk, path);
}

static bool is_snapshot(const struct meta_file *file)
{
	return !file->is_part && has_suffix(file->name, META_SNAPSHOT);
}

/* Files are sorted, newest first. Which snapshot is the last that stays, if there are enough? */
static const char *find_oldest(const struct meta_file *files, uint32_t count)
{
	uint32_t snapshots = 0;

	for (uint32_t i = 0; i < count; i++)
		if (is_snapshot(&files[i]) && ++snapshots == META_KEPT)
			return files[i].name;
	return NULL;
}

/* Keep the last two snapshots, and what of the journal the older one needs. */
static int prune_files(struct disk *disk, struct meta_file *files, uint32_t count)
{
	const char *oldest = find_oldest(files, count);
	uint32_t journals = 0;
	int rc = 0;

	for (uint32_t i = 0; oldest != NULL && i < count && rc == 0; i++) {
		bool is_journal = has_suffix(files[i].name, META_JOURNAL);
		if (name_compare(files[i].name, oldest) >= (is_journal ? 1 : 0))
			continue;
		/* The newest that begins before the snapshot may reach beyond it. */
		if (is_journal && ++journals == 1)
			continue;
		rc = remove_file(disk, &files[i]);
	}
	return rc;
}

static int prune(struct disk *disk)
{
	struct meta_file *files;
	uint32_t count;
	int rc = list_files(disk, &files, &count);

	if (rc < 0)
		return rc;
	qsort(files, count, sizeof(*files), file_compare); /* newest first */
	rc = prune_files(disk, files, count);
	free(files);
	return rc;
}

/* -E_TOOBIG: there are so many already that something is wrong. */
static int admit_new(struct disk *disk)
{
	struct meta_file *files;
	uint32_t count;
	int rc = list_files(disk, &files, &count);

	if (rc < 0)
		return rc;
	free(files);
	return count < META_NEW_MAX ? 0 : -E_TOOBIG;
}

/* A file with its place for a piece: whatever lies behind `offset` gives way to the piece. */
static int write_piece(struct disk_file *file, const struct buf *bulk, uint64_t offset)
{
	uint64_t bytes;
	int rc = disk_size(file, &bytes);

	if (rc == 0 && offset > bytes)
		rc = -E_INVAL;
	if (rc == 0 && bytes > offset + (bulk != NULL ? bulk->len : 0))
		return 0; /* a late copy of a piece: it is in place, and more */
	if (rc == 0 && bulk != NULL)
		rc = disk_write(file, bulk->data, bulk->len, offset);
	return rc < 0 ? rc : 0;
}

/* Sync, close; what could not be synced is not kept (I4). */
static int close_synced(struct disk *disk, struct disk_file *file, const char *path, int rc)
{
	int sync_rc = rc == 0 ? disk_sync(file) : 0;

	disk_close(file);
	if (sync_rc < 0 && disk_unlink(disk, path) < 0)
		log_error("cannot remove '%s', whose sync failed", path);
	return rc < 0 ? rc : sync_rc;
}

static const Wire__MetaPut *put_of(const struct meta_job *job)
{
	return (const Wire__MetaPut *)(const void *)job->req->msg;
}

static int put_journal(struct disk *disk, const struct meta_job *jobs)
{
	const Wire__MetaPut *msg = put_of(jobs);
	const struct meta_job *job;
	char path[META_PATH_BYTES];
	struct disk_file *file;
	bool is_new = false;

	path_of(path, msg->name, "");
	int rc = disk_open(disk, path, DISK_WRITE, &file);
	if (rc == -E_NOENT && msg->offset == 0) {
		is_new = true;
		rc = admit_new(disk);
		if (rc == 0)
			rc = disk_open(disk, path, DISK_WRITE | DISK_CREATE, &file);
	}
	if (rc < 0)
		return rc;
	DL_FOREACH (jobs, job) {
		rc = write_piece(file, job->req->bulk, put_of(job)->offset);
		if (rc < 0)
			break;
	}
	rc = close_synced(disk, file, path, rc);
	if (rc == 0 && is_new)
		rc = disk_sync_dir(disk, META_DIR);
	if (rc < 0 && is_new) {		/* else the next put would not sync its name */
		int gone_rc = disk_unlink(disk, path);
		if (gone_rc < 0 && gone_rc != -E_NOENT)
			log_error("cannot remove '%s', which was begun: %s", path,
				  error_text(gone_rc));
	}
	return rc;
}

/* The last piece, sent again when the snapshot has its name. */
static int put_again(struct disk *disk, const Wire__MetaPut *msg, const struct buf *bulk)
{
	char path[META_PATH_BYTES];
	struct disk_file *file;
	uint64_t bytes;

	path_of(path, msg->name, "");
	int rc = disk_open(disk, path, DISK_READ, &file);
	if (rc < 0)
		return rc;
	rc = disk_size(file, &bytes);
	disk_close(file);
	if (rc < 0)
		return rc;
	return msg->last && msg->offset + (bulk != NULL ? bulk->len : 0) == bytes ? 0 : -E_INVAL;
}

static int put_snapshot(struct disk *disk, const Wire__MetaPut *msg, const struct buf *bulk)
{
	char part[META_PATH_BYTES], path[META_PATH_BYTES];
	struct disk_file *file;
	int rc = msg->offset == 0 ? admit_new(disk) : 0;

	path_of(part, msg->name, META_PART);
	path_of(path, msg->name, "");
	if (rc == 0)
		rc = disk_open(disk, part, msg->offset == 0 ? DISK_WRITE | DISK_CREATE : DISK_WRITE,
			       &file);
	if (rc == -E_NOENT)
		return put_again(disk, msg, bulk);
	if (rc < 0)
		return rc;
	if (msg->offset == 0)
		rc = disk_truncate(file, 0); /* begun afresh */
	if (rc == 0)
		rc = write_piece(file, bulk, msg->offset);
	if (rc < 0 || !msg->last) {
		disk_close(file);
		return rc;
	}
	rc = close_synced(disk, file, part, 0);
	if (rc == 0)
		rc = disk_rename(disk, part, path);
	if (rc == 0)
		rc = disk_sync_dir(disk, META_DIR);
	return rc == 0 ? prune(disk) : rc;
}

static int put(struct disk *disk, const struct meta_job *jobs)
{
	const Wire__MetaPut *msg = put_of(jobs);

	if (!name_is_good(msg->name))
		return -E_INVAL;
	return has_suffix(msg->name, META_SNAPSHOT) ? put_snapshot(disk, msg, jobs->req->bulk)
						    : put_journal(disk, jobs);
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
	int rc = meta->rc;

	if (rc >= 0 && job->req->header.type == MSG_META_PUT)
		rc = put(meta->disk, job);
	else if (rc >= 0 && job->req->header.type == MSG_META_GET)
		rc = get(meta->disk, (const Wire__MetaGet *)msg, job);
	else if (rc >= 0)
		rc = list(meta->disk, job);
	DL_FOREACH (meta->running, job)
		job->rc = rc;
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
	struct meta_job *job;

	while ((job = meta->running) != NULL) {
		DL_DELETE(meta->running, job);
		answer(job);
		LL_PREPEND(meta->free, job);
	}
	run_next(meta);
}

/* Does the queue begin with the next piece of the journal whose last one is to run? */
static bool queue_continues(const struct meta *meta)
{
	const struct meta_job *last = meta->running->prev, *next = meta->queue;
	const struct buf *bulk = last->req->bulk;

	return next != NULL && last->req->header.type == MSG_META_PUT &&
	       next->req->header.type == MSG_META_PUT &&
	       strcmp(put_of(last)->name, put_of(next)->name) == 0 &&
	       has_suffix(put_of(next)->name, META_JOURNAL) &&
	       put_of(next)->offset == put_of(last)->offset + (bulk != NULL ? bulk->len : 0);
}

static void run_next(struct meta *meta)
{
	if (meta->running != NULL || meta->queue == NULL)
		return;
	do {
		struct meta_job *job = meta->queue;

		DL_DELETE(meta->queue, job);
		DL_APPEND(meta->running, job);
	} while (queue_continues(meta));
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

/* Whoever wrote it may have died before its sync. */
static int sync_found(struct disk *disk)
{
	char path[META_PATH_BYTES];
	struct meta_file *files;
	struct disk_file *file;
	uint32_t count;
	int rc = list_files(disk, &files, &count);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < count && rc == 0; i++) {
		if (files[i].is_part)
			continue;
		path_of(path, files[i].name, "");
		rc = disk_open(disk, path, DISK_WRITE, &file);
		if (rc == 0)
			rc = close_synced(disk, file, path, 0);
	}
	free(files);
	return rc == 0 ? disk_sync_dir(disk, META_DIR) : rc;
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
	if (rc == 0)
		rc = sync_found(meta->disk);
	if (rc < 0)
		log_error("no copies of metadata are kept: %s", error_text(rc));
	meta->rc = rc;
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
	DL_FOREACH (s->meta->running, job)
		job_drop(job);
	DL_FOREACH (s->meta->queue, job)
		job_drop(job);
	free(s->meta);
	s->meta = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#define HASH_NONFATAL_OOM 1 /* an add that failed leaves hh.tbl NULL */
#include "tools/analyze.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "fs/tree/cut.h"

#define READ_BYTES MiB(1)

struct met { /* a block */
	struct block_id id;
	uint32_t file; /* the first that has it */
	UT_hash_handle hh;
};

struct analyzer {
	struct analyze_options options;
	struct codec_scratch *codec;
	struct met *met;
	uint32_t files;
	bool is_full;
	uint8_t *read, *block, *out; /* READ_BYTES, BLOCK_BYTES_MAX twice */
};

int analyze_create(const struct analyze_options *options, struct analyzer **out)
{
	struct analyzer *a = calloc(1, sizeof *a);

	if (!a)
		return -E_NOMEM;
	a->options = *options;
	a->codec = codec_scratch_create();
	a->read = malloc(READ_BYTES);
	a->block = malloc(BLOCK_BYTES_MAX);
	a->out = malloc(BLOCK_BYTES_MAX);
	if (!a->codec || !a->read || !a->block || !a->out) {
		analyze_destroy(a);
		return -E_NOMEM;
	}
	*out = a;
	return 0;
}

void analyze_destroy(struct analyzer *a)
{
	struct met *met, *next;

	if (!a)
		return;
	HASH_ITER (hh, a->met, met, next) {
		HASH_DEL(a->met, met);
		free(met);
	}
	codec_scratch_destroy(a->codec);
	free(a->read);
	free(a->block);
	free(a->out);
	free(a);
}

bool analyze_is_full(const struct analyzer *a)
{
	return a->is_full;
}

void analyze_finish(struct analysis *a)
{
	tensor_list_finish(&a->tensors);
	free(a->by_tensor);
	a->by_tensor = NULL;
}

/* --- one block -------------------------------------------------------------------------------- */

struct file {
	struct analyzer *a;
	struct analysis *out;
	int fd;
	uint8_t head[TENSORS_READ_MAX]; /* what the walk of its header reads */
	uint64_t offset;		/* of the block under way */
	uint32_t len;			/* bytes of it, so far */
	struct codec_plan plan;		/* of the block before it */
	bool has_plan;
};

/* 1: it was met before, in this file or in `*within` an earlier one; 0: it is new. */
static int meet(struct analyzer *a, const struct block_id *id, bool *within)
{
	struct met *met;

	HASH_FIND(hh, a->met, id, sizeof *id, met);
	if (met) {
		*within = met->file == a->files;
		return 1;
	}
	if (HASH_COUNT(a->met) >= ANALYZE_IDS_MAX) {
		a->is_full = true;
		return 0;
	}
	met = calloc(1, sizeof *met);
	if (!met)
		return -E_NOMEM;
	met->id = *id;
	met->file = a->files;
	HASH_ADD(hh, a->met, id, sizeof met->id, met);
	if (met->hh.tbl)
		return 0;
	free(met);
	return -E_NOMEM;
}

static void add(struct analyze_sums *s, const struct analyze_block *b)
{
	s->blocks++;
	s->plain += b->length;
	s->encoded += b->encoded;
	s->shared += b->is_shared ? b->length : 0;
	s->added += b->is_shared ? 0 : b->encoded;
}

static struct analyze_column *column_at(struct analysis *a, uint64_t offset)
{
	uint64_t i = a->bytes ? offset / DIV_CEIL(a->bytes, a->column_count) : 0;

	return &a->columns[MIN_OF(i, (uint64_t)a->column_count - 1)];
}

static void add_everywhere(struct analysis *out, const struct analyze_block *b)
{
	struct analyze_column *column = column_at(out, b->offset);

	add(&out->total, b);
	add(&out->codecs[b->plan.codec], b);
	add(&out->dtypes[b->tensor ? (uint32_t)b->tensor->dtype : TENSORS_DTYPES], b);
	if (b->tensor)
		add(&out->by_tensor[b->tensor - out->tensors.items], b);
	column->plain += b->length;
	column->encoded += b->encoded;
	column->shared += b->is_shared ? b->length : 0;
	column->codecs[b->plan.codec] += b->length;
}

static int end_block(struct file *f)
{
	struct analyzer *a = f->a;
	struct codec_bytes plain = {a->block, f->len};
	struct analyze_block b = {.offset = f->offset, .length = f->len};
	uint32_t stored;
	bool within = false;
	int rc;

	if (f->len == 0)
		return 0;
	block_id_of(a->options.hash, a->block, f->len, &b.id);
	codec_detect(a->options.aim, &plain, f->has_plan ? &f->plan : NULL, &b.plan);
	f->plan = b.plan;
	f->has_plan = true;
	stored = codec_shrink(a->codec, &b.plan, &plain, a->out);
	if (stored == 0)
		b.plan = (struct codec_plan){.codec = CODEC_RAW};
	b.encoded = RECORD_HEADER_BYTES + (stored ? stored : f->len);
	b.tensor = tensor_list_find(&f->out->tensors, b.offset, b.length);
	rc = meet(a, &b.id, &within);
	if (rc < 0)
		return rc;
	b.is_shared = rc > 0;
	f->out->shared_within += within ? b.length : 0;
	add_everywhere(f->out, &b);
	rc = a->options.on_block ? a->options.on_block(a->options.arg, &b, a->block) : 0;
	f->offset += f->len;
	f->len = 0;
	return rc;
}

/* --- one file --------------------------------------------------------------------------------- */

/* All of it or an error: what is gone by now is no header any more. */
static int read_head(void *arg, uint64_t offset, uint32_t len, const void **bytes)
{
	struct file *f = arg;
	ssize_t n = pread(f->fd, f->head, len, (off_t)offset);

	if (n < 0)
		return error_from_errno(errno);
	*bytes = f->head;
	return (uint32_t)n == len ? 0 : -E_IO;
}

/* The next bytes, up to the end of the block that they belong to. */
static int take(struct file *f, struct cut *cut, const uint8_t *bytes, uint32_t len)
{
	while (len > 0) {
		bool ends = false;
		uint32_t n = MIN_OF(len, BLOCK_BYTES_MAX - f->len);
		int rc = 0;

		if (f->out->is_cut)
			n = cut_feed(cut, bytes, len, &ends);
		ASSERT(f->len + n <= BLOCK_BYTES_MAX);
		memcpy(f->a->block + f->len, bytes, n);
		f->len += n;
		bytes += n;
		len -= n;
		if (ends || (!f->out->is_cut && f->len == BLOCK_BYTES_MAX))
			rc = end_block(f);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_content(struct file *f, const struct cut_plan *plan)
{
	struct cut cut;
	int rc = 0;

	cut_init(&cut, plan, 0);
	for (uint64_t at = 0; rc == 0;) {
		ssize_t n = pread(f->fd, f->a->read, READ_BYTES, (off_t)at);

		if (n < 0)
			return error_from_errno(errno);
		if (n == 0)
			break;
		rc = take(f, &cut, f->a->read, (uint32_t)n);
		at += (uint64_t)n;
	}
	return rc < 0 ? rc : end_block(f);
}

static int read_tensors(struct file *f, struct cut_plan *plan)
{
	struct analysis *out = f->out;
	struct tensors_source source = {out->bytes, read_head, f};
	int rc = tensor_list_read(&out->tensors, &source);

	if (rc < 0)
		return rc;
	out->by_tensor = calloc(MAX_OF(out->tensors.count, 1u), sizeof *out->by_tensor);
	if (!out->by_tensor)
		return -E_NOMEM;
	for (uint32_t i = 0; i < out->tensors.count; i++) {
		const struct tensor_item *t = &out->tensors.items[i];
		struct tensors_span span = {
			.offset = t->offset, .length = t->length, .dtype = t->dtype};

		cut_plan_span(plan, &span);
		if (t->length >= CUT_TENSOR_BYTES_MIN)
			column_at(out, t->offset)->starts_tensor = true;
	}
	cut_plan_seal(plan, out->tensors.data_start);
	return 0;
}

static int look(struct file *f)
{
	struct cut_plan plan;
	struct stat st;
	int rc;

	if (fstat(f->fd, &st) != 0)
		return error_from_errno(errno);
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -E_ISDIR : -E_INVAL;
	f->out->bytes = (uint64_t)st.st_size;
	f->out->is_cut = f->out->bytes >= f->a->options.cut_bytes_min;
	f->out->column_count = (uint32_t)MIN_OF(
		(uint64_t)ANALYZE_COLUMNS, MAX_OF(f->out->bytes / BLOCK_BYTES_MAX, UINT64_C(1)));
	cut_plan_init(&plan);
	rc = read_tensors(f, &plan);
	if (rc == 0)
		rc = read_content(f, &plan);
	cut_plan_finish(&plan);
	return rc;
}

int analyze_look(struct analyzer *a, const char *path, struct analysis *out, struct error *err)
{
	struct file *f = calloc(1, sizeof *f);
	int rc;

	if (!f)
		return error_set(err, -E_NOMEM, "cannot analyze '%s'", path);
	f->a = a;
	f->out = out;
	a->files++;
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0) {
		rc = error_set(err, error_from_errno(errno), "cannot open '%s'", path);
	} else {
		rc = look(f);
		if (rc == -E_INVAL)
			(void)error_say(err, rc, "cannot analyze '%s': not a regular file", path);
		else if (rc < 0)
			(void)error_set(err, rc, "cannot analyze '%s'", path);
		close(f->fd);
	}
	free(f);
	return rc;
}

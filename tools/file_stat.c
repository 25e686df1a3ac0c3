/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/file_stat.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/text.h"
#include "tools/tree_content.h"

struct file_stat *file_stat_create(struct tree_reader *reader, uint32_t sample_max)
{
	struct file_stat *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->reader = reader;
	s->sample = sample_create(sample_max, 0);
	if (s->sample)
		return s;
	free(s);
	return NULL;
}

void file_stat_destroy(struct file_stat *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->shared_count; i++)
		free(s->shared[i].path);
	sample_destroy(s->sample);
	free(s);
}

/* --- the manifest ----------------------------------------------------------------------------- */

struct look {
	struct file_stat *s;
	struct tensor_list tensors;
	struct error *err;
};

static void show_walk(struct file_stat *s)
{
	char done[TEXT_BYTES_HUMAN], all[TEXT_BYTES_HUMAN];

	if (progress_line_is_due(&s->progress))
		progress_line_write(&s->progress, "walking: %s of %s",
				    text_bytes_human(done, s->plain),
				    text_bytes_human(all, root_data_bytes(&s->attr.root)));
}

static int on_block(void *arg, const struct tree_block *block)
{
	struct look *l = arg;
	struct file_stat *s = l->s;
	const struct tensor_item *t;
	struct sample_block *b;

	show_walk(s);
	s->nodes += block->is_node;
	s->blocks += !block->is_node;
	if (!block->is_node) {
		t = tensor_list_find(&l->tensors, block->offset, block->length);
		s->dtypes[t ? (uint32_t)t->dtype : TENSORS_DTYPES] += block->length;
		s->plain += block->length;
	}
	if (sample_meet(s->sample, &block->id, &b) < 0)
		return error_set(l->err, -E_NOMEM, "cannot remember a block");
	if (b) {
		b->is_node = block->is_node;
		b->length = block->is_node ? 0 : (uint32_t)block->length;
	}
	return 0;
}

static int read_tensors(struct look *l)
{
	struct file_stat *s = l->s;
	struct tree_content *c = tree_content_create(s->reader, &s->attr.root);
	struct tensors_source source = {s->attr.root.length, tree_content_read, c};
	int rc = c ? tensor_list_read(&l->tensors, &source) : -E_NOMEM;

	tree_content_destroy(c);
	s->format = l->tensors.format;
	s->tensor_count = l->tensors.count;
	return rc < 0 ? error_set(l->err, rc, "cannot read tensors") : 0;
}

/* --- copies ----------------------------------------------------------------------------------- */

static void count_copies(struct file_stat *s, const struct sample_block *b)
{
	const struct map *map = tree_reader_map(s->reader);
	const struct tree_copies *c = &b->copies;

	s->distinct++;
	estimate_add(&s->unique, b->length);
	s->stored_one += c->held_count ? c->held[0].stored : 0;
	s->with_copies[c->held_count]++;
	s->short_blocks += c->held_count < c->wanted;
	s->silent += c->silent_count;
	for (uint32_t i = 0; i < c->held_count; i++) {
		const struct tree_copy *copy = &c->held[i];

		s->stored_all += copy->stored;
		if (!b->is_node) {
			s->codecs[copy->codec].copies++;
			s->codecs[copy->codec].plain += b->length;
			s->codecs[copy->codec].stored += copy->stored;
		}
		for (uint32_t k = 0; k < map_server_count(map); k++)
			s->on_server[k] += map_server_at(map, k)->server == copy->server;
	}
}

struct asking {
	struct block_id ids[SIZES_IDS_MAX];
	struct tree_copies copies[SIZES_IDS_MAX];
	struct sample_block *blocks[SIZES_IDS_MAX];
	uint32_t count;
};

static int ask(struct file_stat *s, struct asking *q, struct error *err)
{
	int rc = tree_reader_copies(s->reader, q->ids, q->count, q->copies, err);

	for (uint32_t i = 0; rc == 0 && i < q->count; i++) {
		q->blocks[i]->copies = q->copies[i];
		count_copies(s, q->blocks[i]);
	}
	q->count = 0;
	return rc;
}

static int ask_all(struct file_stat *s, struct error *err)
{
	struct asking *q = calloc(1, sizeof *q);
	uint32_t done = 0;
	int rc = q ? 0 : error_set(err, -E_NOMEM, "cannot ask for sizes");

	for (struct sample_block *b = sample_next(s->sample, NULL); b && rc == 0;
	     b = sample_next(s->sample, b)) {
		q->ids[q->count] = b->id;
		q->blocks[q->count++] = b;
		if (q->count == SIZES_IDS_MAX)
			rc = ask(s, q, err);
		done++;
		if (progress_line_is_due(&s->progress))
			progress_line_write(&s->progress,
					    "asking for the sizes of block %" PRIu32 " of %" PRIu32,
					    done, sample_count(s->sample));
	}
	if (rc == 0 && q->count > 0)
		rc = ask(s, q, err);
	free(q);
	return rc;
}

int file_stat_look(struct file_stat *s, inode_no ino, struct error *err)
{
	struct look l = {.s = s, .err = err};
	int rc = tree_reader_attr(s->reader, ino, &s->attr, err);

	s->rate = 1;
	if (rc < 0 || !root_has_blocks(&s->attr.root))
		return rc;
	rc = read_tensors(&l);
	if (rc == 0)
		rc = tree_reader_walk(s->reader, &s->attr.root, on_block, &l, err);
	if (rc == 0)
		rc = ask_all(s, err);
	s->rate = sample_rate(s->sample);
	progress_line_wipe(&s->progress);
	tensor_list_finish(&l.tensors);
	return rc;
}

/* --- other files ------------------------------------------------------------------------------ */

#define SEEN_ELSEWHERE (UINT64_C(1) << 63) /* of a mark; the rest: the last file that has it */

struct search {
	struct file_stat *s;
	double bytes; /* of the file in work */
	bool is_deep;
	struct error *err;
};

static int on_other_block(void *arg, const struct tree_block *block)
{
	struct search *q = arg;
	struct sample_block *b = block->is_node ? NULL : sample_find(q->s->sample, &block->id);

	if (!b || (b->mark & ~SEEN_ELSEWHERE) == q->s->searched)
		return 0;
	b->mark = SEEN_ELSEWHERE | q->s->searched;
	q->bytes += b->length;
	return 0;
}

static int keep(struct file_stat *s, const char *path, double bytes)
{
	struct file_stat_shared *list = s->shared, new = {strdup(path), bytes};
	uint32_t i = s->shared_count;

	if (!new.path)
		return -E_NOMEM;
	if (i == FILE_STAT_SHARED_MAX) {
		if (list[i - 1].bytes >= bytes) {
			free(new.path);
			return 0;
		}
		free(list[--i].path);
	} else {
		s->shared_count++;
	}
	for (; i > 0 && list[i - 1].bytes < bytes; i--)
		list[i] = list[i - 1];
	list[i] = new;
	return 0;
}

static int on_file(void *arg, const struct tree_file *file)
{
	struct search *q = arg;
	struct file_stat *s = q->s;
	struct error ignored = {0};
	int rc;

	if (file->attr->ino == s->attr.ino || !root_has_blocks(&file->attr->root))
		return 0;
	if (!q->is_deep && s->searched == FILE_STAT_BESIDE_MAX) {
		s->search_ended_early = true;
		return 0;
	}
	s->searched++;
	if (progress_line_is_due(&s->progress))
		progress_line_write(&s->progress, "looked into %" PRIu64 " other files",
				    s->searched);
	q->bytes = 0;
	/* What cannot be read, or went away, shares what was seen of it. */
	rc = tree_reader_walk(s->reader, &file->attr->root, on_other_block, q, &ignored);
	if (rc == -E_NO_SESSION || rc == -E_NOMEM)
		return error_set(q->err, rc, "cannot read '%s'", file->path);
	if (q->bytes == 0)
		return 0;
	s->sharing++;
	rc = keep(s, file->path, q->bytes / s->rate);
	return rc < 0 ? error_set(q->err, rc, "cannot remember '%s'", file->path) : 0;
}

int file_stat_search(struct file_stat *s, inode_no dir, bool is_deep, struct error *err)
{
	struct search q = {.s = s, .is_deep = is_deep, .err = err};
	struct tree_files files = {
		.reader = s->reader, .fn = on_file, .arg = &q, .is_flat = !is_deep};
	int rc = tree_files_walk(&files, dir, err);

	progress_line_wipe(&s->progress);
	for (const struct sample_block *b = sample_next(s->sample, NULL); b;
	     b = sample_next(s->sample, b))
		s->shared_bytes += b->mark & SEEN_ELSEWHERE ? b->length / s->rate : 0;
	return rc;
}

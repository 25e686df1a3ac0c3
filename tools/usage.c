/* SPDX-License-Identifier: Apache-2.0 */
/* The walk, and the questions to chunk servers. Sums: usage_sums.c. */
#define HASH_NONFATAL_OOM 1 /* an add that failed leaves hh.tbl NULL */
#include "tools/usage.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"
#include "tools/tensor_list.h"
#include "tools/tree_content.h"

#define LINKED_MAX	 1000000u /* inodes with several names that are remembered */
#define TRIES		 3u	  /* for a file that changes while it is walked */

struct usage_links {
	inode_no ino;
	UT_hash_handle hh;
};

struct usage *usage_create(struct tree_reader *reader, enum usage_by by, uint32_t sample_max,
			   uint64_t seed)
{
	struct usage *u = calloc(1, sizeof *u);

	if (!u)
		return NULL;
	u->reader = reader;
	u->by = by;
	u->name = "";
	u->sample = sample_create(sample_max, seed);
	u->pairs = calloc(SAMPLE_GROUPS * SAMPLE_GROUPS, sizeof *u->pairs);
	if (u->sample && u->pairs)
		return u;
	usage_destroy(u);
	return NULL;
}

void usage_destroy(struct usage *u)
{
	struct usage_links *link, *next;

	if (!u)
		return;
	HASH_ITER (hh, u->links, link, next) {
		HASH_DEL(u->links, link);
		free(link);
	}
	sample_destroy(u->sample);
	free(u->pairs);
	free(u);
}

static void show_walk(struct usage *u)
{
	char human[TEXT_BYTES_HUMAN];

	if (progress_line_is_due(&u->progress))
		progress_line_write(&u->progress, "walking: %" PRIu64 " files, %s", u->files,
				    text_bytes_human(human, u->logical));
}

static void show_block(struct usage *u, const char *what, uint64_t done, uint64_t all)
{
	if (progress_line_is_due(&u->progress))
		progress_line_write(&u->progress, "%s block %" PRIu64 " of %" PRIu64, what, done,
				    all);
}

/* --- groups ----------------------------------------------------------------------------------- */

void usage_type(const char *path, char out[USAGE_GROUP_BYTES])
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash : path, '.');
	size_t len = dot ? strlen(dot + 1) : 0;

	(void)text_copy(out, USAGE_GROUP_BYTES, "(none)");
	if (len == 0 || len > 16 || dot == path || dot[-1] == '/')
		return;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)dot[1 + i]) && dot[1 + i] != '_' && dot[1 + i] != '-')
			return;
	for (size_t i = 0; i <= len; i++)
		out[i] = (char)tolower((unsigned char)dot[1 + i]);
}

/* The first name of the path; "." for a file that lies where the walk began. */
static void directory_of(const char *path, char out[USAGE_GROUP_BYTES])
{
	const char *slash = strchr(path, '/');

	if (slash)
		(void)snprintf(out, USAGE_GROUP_BYTES, "%.*s", (int)(slash - path), path);
	else
		(void)text_copy(out, USAGE_GROUP_BYTES, ".");
}

/* The last one takes whatever comes when all are in use. */
static struct usage_group *group_named(struct usage *u, const char *name)
{
	for (uint32_t i = 0; i < u->group_count; i++)
		if (strcmp(u->groups[i].name, name) == 0)
			return &u->groups[i];
	if (u->group_count < SAMPLE_GROUPS - 1) {
		(void)text_copy(u->groups[u->group_count].name, USAGE_GROUP_BYTES, name);
		return &u->groups[u->group_count++];
	}
	u->group_count = SAMPLE_GROUPS;
	(void)text_copy(u->groups[SAMPLE_GROUPS - 1].name, USAGE_GROUP_BYTES, "(others)");
	return &u->groups[SAMPLE_GROUPS - 1];
}

/* Of a file; NULL: its blocks have groups, or there are none. */
static struct usage_group *group_of_file(struct usage *u, const char *path)
{
	char name[USAGE_GROUP_BYTES] = "";

	if (u->by == USAGE_BY_TYPE)
		usage_type(path, name);
	else if (u->by == USAGE_BY_DIR)
		directory_of(path, name);
	else
		return NULL;
	return group_named(u, name);
}

/* --- files ------------------------------------------------------------------------------------ */

struct file_walk {
	struct usage *u;
	struct usage_group *group; /* of the file; NULL: of each block */
	struct tensor_list tensors;
	uint64_t dtypes[TENSORS_DTYPES + 1]; /* bytes of each; the last one: of no tensor */
	struct error *err;
};

static struct usage_group *group_of_dtype(struct usage *u, uint32_t dtype)
{
	return group_named(u, dtype < TENSORS_DTYPES ? tensors_dtype_name((enum tensors_dtype)dtype)
						     : "(no tensor)");
}

/* By dtype: of what most of the block is; counted here, for all of them. */
static struct usage_group *group_of_block(struct file_walk *w, const struct tree_block *block)
{
	const struct tensor_item *t;
	uint32_t dtype = TENSORS_DTYPES;

	if (w->u->by != USAGE_BY_DTYPE)
		return w->group;
	t = tensor_list_find(&w->tensors, block->offset, block->length);
	if (t)
		dtype = t->dtype;
	w->dtypes[dtype] += block->length;
	return group_of_dtype(w->u, dtype);
}

static int on_block(void *arg, const struct tree_block *block)
{
	struct file_walk *w = arg;
	struct usage *u = w->u;
	struct usage_group *group = block->is_node ? NULL : group_of_block(w, block);
	struct sample_block *b;

	u->nodes += block->is_node;
	u->blocks += !block->is_node;
	show_walk(u);
	if (sample_meet(u->sample, &block->id, &b) < 0)
		return error_set(w->err, -E_NOMEM, "cannot remember a block");
	if (!b)
		return 0;
	b->is_node = block->is_node;
	if (block->is_node)
		return 0;
	b->length = (uint32_t)block->length;
	b->met += block->length;
	if (group) {
		uint32_t i = (uint32_t)(group - u->groups);

		b->groups[i / 64] |= UINT64_C(1) << i % 64;
	}
	return 0;
}

/* Has it been counted under another name? One of more than we remember is counted again. */
static bool was_counted(struct usage *u, const struct tree_attr *attr)
{
	struct usage_links *link;

	if (attr->nlink < 2)
		return false;
	HASH_FIND(hh, u->links, &attr->ino, sizeof attr->ino, link);
	if (link)
		return true;
	if (HASH_COUNT(u->links) >= LINKED_MAX)
		return false;
	link = calloc(1, sizeof *link);
	if (!link)
		return false;
	link->ino = attr->ino;
	HASH_ADD(hh, u->links, ino, sizeof link->ino, link);
	if (!link->hh.tbl)
		free(link);
	return false;
}

/* Its tensors, as far as its header can be read. */
static int read_tensors(struct file_walk *w, const struct tree_attr *attr)
{
	struct tree_content *c;
	int rc;

	tensor_list_finish(&w->tensors);
	memset(w->dtypes, 0, sizeof w->dtypes);
	if (w->u->by != USAGE_BY_DTYPE || !root_has_blocks(&attr->root))
		return 0;
	c = tree_content_create(w->u->reader, &attr->root);
	rc = c ? tensor_list_read(&w->tensors,
				  &(struct tensors_source){attr->root.length, tree_content_read, c})
	       : -E_NOMEM;
	tree_content_destroy(c);
	return rc < 0 ? error_set(w->err, rc, "cannot read tensors") : 0;
}

/* Walk the content that it has now; *attr is what was walked. */
static int walk_content(struct file_walk *w, struct tree_attr *attr)
{
	uint64_t version = attr->version;
	int rc = 0;

	for (uint32_t i = 0; i < TRIES; i++) {
		struct error why = {0};

		rc = read_tensors(w, attr);
		if (rc == 0)
			rc = tree_reader_walk(w->u->reader, &attr->root, on_block, w, w->err);
		if (rc == 0 || rc == -E_NOMEM)
			return rc;
		/* Was it replaced, and its old blocks collected? */
		if (tree_reader_attr(w->u->reader, attr->ino, attr, &why) < 0)
			return -E_STALE;
		if (attr->version == version)
			return rc;
		version = attr->version;
	}
	return rc;
}

static void count_file(struct usage *u, struct usage_group *group, const struct tree_attr *attr)
{
	uint64_t data = root_data_bytes(&attr->root), logical = attr->root.length;
	uint64_t inlined = attr->root.kind == ROOT_INLINE ? logical : 0;
	uint64_t holes = logical - data;

	u->files++;
	u->logical += logical;
	u->holes += holes;
	u->inlined += inlined;
	u->in_blocks += data - inlined;
	if (!group)
		return;
	group->files++;
	group->logical += logical;
	group->holes += holes;
	group->inlined += inlined;
}

static void count_dtypes(struct file_walk *w, const struct tree_attr *attr)
{
	if (attr->root.kind == ROOT_INLINE)
		w->dtypes[TENSORS_DTYPES] = attr->root.length;
	for (uint32_t i = 0; i <= TENSORS_DTYPES; i++) {
		struct usage_group *group;

		if (w->u->by != USAGE_BY_DTYPE || w->dtypes[i] == 0)
			continue;
		group = group_of_dtype(w->u, i);
		group->files++;
		group->logical += w->dtypes[i];
		group->inlined += attr->root.kind == ROOT_INLINE ? w->dtypes[i] : 0;
	}
}

static int on_file(void *arg, const struct tree_file *file)
{
	struct file_walk *w = arg;
	struct usage *u = w->u;
	struct tree_attr attr = *file->attr;
	int rc;

	if (was_counted(u, &attr)) {
		u->again++;
		return 0;
	}
	w->group = group_of_file(u, file->path[0] ? file->path : u->name);
	rc = walk_content(w, &attr);
	if (rc == 0) {
		count_file(u, w->group, &attr);
		count_dtypes(w, &attr);
		show_walk(u);
		return 0;
	}
	if (tree_files_is_gone(rc)) {
		u->gone++;
		return 0;
	}
	/* A lost metadata server is found with the next name; a chunk server costs its files. */
	if (rc == -E_NOMEM || rc == -E_NO_SESSION)
		return rc;
	if (u->unreadable++ == 0)
		(void)text_copy(u->first_unreadable, sizeof u->first_unreadable,
				file->path[0] ? file->path : u->name);
	return 0;
}

int usage_walk(struct usage *u, inode_no from, struct error *err)
{
	struct file_walk w = {.u = u, .err = err};
	struct tree_files files = {.reader = u->reader, .fn = on_file, .arg = &w};
	int rc = tree_files_walk(&files, from, err);

	tensor_list_finish(&w.tensors);
	u->directories += files.directories;
	u->gone += files.gone;
	u->unreadable += files.too_long;
	progress_line_wipe(&u->progress);
	return rc;
}

/* --- chunk servers ---------------------------------------------------------------------------- */

struct asking {
	struct block_id ids[SIZES_IDS_MAX];
	struct tree_copies copies[SIZES_IDS_MAX];
	struct sample_block *blocks[SIZES_IDS_MAX];
	uint32_t count;
};

static int ask(struct usage *u, struct asking *q, struct error *err)
{
	int rc = tree_reader_copies(u->reader, q->ids, q->count, q->copies, err);

	for (uint32_t i = 0; rc == 0 && i < q->count; i++) {
		q->blocks[i]->copies = q->copies[i];
		u->unanswered += q->copies[i].silent_count;
		u->absent += q->copies[i].held_count == 0;
	}
	q->count = 0;
	return rc;
}

int usage_ask(struct usage *u, struct error *err)
{
	struct asking *q = calloc(1, sizeof *q);
	uint64_t done = 0;
	int rc = q ? 0 : error_set(err, -E_NOMEM, "cannot ask for sizes");

	for (struct sample_block *b = sample_next(u->sample, NULL); b && rc == 0;
	     b = sample_next(u->sample, b)) {
		q->ids[q->count] = b->id;
		q->blocks[q->count++] = b;
		if (q->count == SIZES_IDS_MAX)
			rc = ask(u, q, err);
		show_block(u, "asking for the sizes of", ++done, sample_count(u->sample));
	}
	if (rc == 0 && q->count > 0)
		rc = ask(u, q, err);
	free(q);
	progress_line_wipe(&u->progress);
	return rc;
}

/* The record that the block would be. */
static uint32_t encode(struct codec_scratch *s, enum codec_aim aim, const void *plain, uint32_t len,
		       void *out)
{
	struct codec_bytes bytes = {plain, len};
	struct codec_plan plan;
	uint32_t stored;

	codec_detect(aim, &bytes, NULL, &plan);
	stored = codec_shrink(s, &plan, &bytes, out);
	return RECORD_HEADER_BYTES + (stored ? stored : len);
}

int usage_what_if(struct usage *u, enum codec_aim aim, uint32_t blocks_max, struct error *err)
{
	struct codec_scratch *s = codec_scratch_create();
	uint8_t *plain = malloc(2 * (size_t)BLOCK_BYTES_MAX);
	int rc = s && plain ? 0 : error_set(err, -E_NOMEM, "cannot encode");

	u->what_if_aim = aim;
	u->what_if_rate = sample_rate_for(u->sample, blocks_max);
	for (struct sample_block *b = sample_next(u->sample, NULL); b && rc == 0;
	     b = sample_next(u->sample, b)) {
		struct error why = {0};
		uint32_t len = 0;

		if (b->is_node || !sample_is_below(u->sample, b, u->what_if_rate))
			continue;
		/* One that went away meanwhile, or has no good copy, is not of the sample. */
		if (tree_reader_get(u->reader, &b->id, plain, &len, &why) < 0)
			continue;
		b->what_if = encode(s, aim, plain, len, plain + BLOCK_BYTES_MAX);
		show_block(u, "encoding", ++u->what_if_blocks,
			   MIN_OF(blocks_max, sample_count(u->sample)));
	}
	codec_scratch_destroy(s);
	free(plain);
	progress_line_wipe(&u->progress);
	return rc;
}

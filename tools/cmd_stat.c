/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn stat PATH...: what a file of a mount is made of, which servers hold it, and which files
 * share with it. Exit status: 0 every block has all copies, 1 not or failed, 2 usage, 3
 * unreachable.
 */
#include "tools/command.h"

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/text.h"
#include "tools/file_stat.h"
#include "tools/path_inode.h"

#define SHOWN_DEFAULT 10u

struct arguments {
	struct command_target target;
	bool blocks;
	const char *among; /* NULL: the folder of the file */
	uint64_t top, sample;
	char **paths;
	int path_count;
};

static const char *kind_name(const struct tree_attr *a)
{
	if (!S_ISREG(a->mode))
		return "no file";
	switch (a->root.kind) {
	case ROOT_EMPTY:
		return "empty";
	case ROOT_INLINE:
		return "inline";
	case ROOT_BLOCK:
		return "block";
	case ROOT_NODE:
		return "manifest";
	}
	return "?";
}

static const char *cut_name(const struct tree_attr *a)
{
	return a->root.kind == ROOT_NODE && a->root.cutter ? "content" : "grid";
}

/* A count of the sample, for all. */
static uint64_t scaled(const struct file_stat *s, uint64_t value)
{
	return (uint64_t)((double)value / s->rate + 0.5);
}

static uint64_t unique_of(const struct file_stat *s)
{
	return (uint64_t)(estimate_total(&s->unique, s->rate) + 0.5);
}

static double codec_ratio(const struct file_stat *s)
{
	uint64_t plain = 0, stored = 0;

	for (uint32_t i = 0; i < ARRAY_COUNT(s->codecs); i++) {
		plain += s->codecs[i].plain;
		stored += s->codecs[i].stored;
	}
	return stored ? (double)plain / (double)stored : 1;
}

static const char *codec_text(uint32_t codec)
{
	return codec_is_known(codec) ? codec_name((enum codec)codec) : "unknown";
}

static const char *dtype_text(uint32_t dtype)
{
	return dtype < TENSORS_DTYPES ? tensors_dtype_name((enum tensors_dtype)dtype)
				      : "(no tensor)";
}

/* --- the list of blocks ----------------------------------------------------------------------- */

struct listing {
	const struct file_stat *s;
	json_t *list; /* NULL: printed */
};

static int list_block(void *arg, const struct tree_block *b)
{
	struct listing *l = arg;
	const struct sample_block *known = sample_find(l->s->sample, &b->id);
	const struct tree_copies none = {.held_count = 0}, *c = known ? &known->copies : &none;
	uint32_t stored = c->held_count ? c->held[0].stored : 0;
	const char *codec = c->held_count ? codec_text(c->held[0].codec) : "?";
	char hex[BLOCK_ID_HEX_BYTES], servers[128] = "";
	json_t *held;

	block_id_hex(&b->id, hex);
	if (l->list) {
		held = json_array();
		for (uint32_t i = 0; i < c->held_count; i++)
			json_array_append_new(held, json_integer(c->held[i].server));
		json_array_append_new(
			l->list, json_pack("{s:s, s:I, s:I, s:b, s:I, s:s, s:o}", "id", hex,
					   "offset", (json_int_t)b->offset, "length",
					   (json_int_t)b->length, "node", (int)b->is_node, "stored",
					   (json_int_t)stored, "codec", codec, "servers", held));
		return 0;
	}
	for (uint32_t i = 0; i < c->held_count; i++)
		(void)snprintf(servers + strlen(servers), sizeof servers - strlen(servers),
			       " %" PRIu32, c->held[i].server);
	printf("  %12" PRIu64 " %8" PRIu64 " %-5s %s %7" PRIu32 " stored by %s, servers%s\n",
	       b->offset, b->length, b->is_node ? "node" : "block", hex, stored, codec,
	       servers[0] ? servers
	       : known	  ? " none"
			  : " not asked");
	return 0;
}

/* --- text ------------------------------------------------------------------------------------- */

static void print_made_of(const struct file_stat *s)
{
	char a[TEXT_BYTES_HUMAN], b[TEXT_BYTES_HUMAN];

	if (s->tensor_count > 0)
		printf("  %s, %" PRIu32 " tensors\n", tensors_format_name(s->format),
		       s->tensor_count);
	for (uint32_t i = 0; i <= TENSORS_DTYPES && s->tensor_count > 0; i++)
		if (s->dtypes[i])
			printf("    %-12s %12s, %.1f %%\n", dtype_text(i),
			       text_bytes_human(a, s->dtypes[i]),
			       100.0 * (double)s->dtypes[i] / (double)s->plain);
	for (uint32_t i = 0; i < ARRAY_COUNT(s->codecs); i++)
		if (s->codecs[i].copies)
			printf("  stored by %-6s %" PRIu64 " copies, %s as %s: %.2f\n",
			       codec_text(i), scaled(s, s->codecs[i].copies),
			       text_bytes_human(a, scaled(s, s->codecs[i].plain)),
			       text_bytes_human(b, scaled(s, s->codecs[i].stored)),
			       (double)s->codecs[i].plain / (double)s->codecs[i].stored);
}

static void print_places(const struct file_stat *s)
{
	const struct map *map = tree_reader_map(s->reader);

	for (uint32_t i = 0; i < ARRAY_COUNT(s->with_copies); i++)
		if (s->with_copies[i])
			printf("  %" PRIu64 " blocks on %u servers\n", scaled(s, s->with_copies[i]),
			       i);
	for (uint32_t i = 0; i < map_server_count(map); i++)
		if (s->on_server[i])
			printf("  server %-4" PRIu32 " holds %" PRIu64 "\n",
			       map_server_at(map, i)->server, scaled(s, s->on_server[i]));
	if (s->silent)
		printf("  %" PRIu64 " questions were not answered: a server is down\n",
		       scaled(s, s->silent));
}

static void print_shared(const struct file_stat *s, const struct arguments *a, const char *among)
{
	char human[TEXT_BYTES_HUMAN];

	printf("  %s of it in %" PRIu64 " of %" PRIu64 " other files %s %s%s\n",
	       text_bytes_human(human, (uint64_t)(s->shared_bytes + 0.5)), s->sharing, s->searched,
	       a->among ? "below" : "in", among,
	       s->search_ended_early ? ", which has more than were looked into" : "");
	for (uint32_t i = 0; i < s->shared_count && i < a->top; i++)
		printf("    %12s %s\n",
		       text_bytes_human(human, (uint64_t)(s->shared[i].bytes + 0.5)),
		       text_printable(s->shared[i].path));
}

static void print_people(const struct file_stat *s, const char *path)
{
	char plain[TEXT_BYTES_HUMAN], stored[TEXT_BYTES_HUMAN], shared[TEXT_BYTES_HUMAN];
	char hex[BLOCK_ID_HEX_BYTES], holes[TEXT_BYTES_HUMAN];
	const struct tree_attr *a = &s->attr;

	printf("%s: inode %" PRIu64 ", version %" PRIu64 ", %" PRIu64 " bytes, %s\n", path, a->ino,
	       a->version, a->size,
	       a->root.kind == ROOT_INLINE ? "inline: the bytes are in the metadata server"
					   : kind_name(a));
	if (!root_has_blocks(&a->root))
		return;
	printf("  root %s, depth %u; %" PRIu64 " blocks, cut %s, %" PRIu64 " nodes, %" PRIu64
	       " distinct\n",
	       block_id_hex(&a->root.id, hex), a->root.depth, s->blocks,
	       a->root.cutter ? "by content" : "on the grid", s->nodes, scaled(s, s->distinct));
	printf("  %s of data, %s of holes, %s shared within the file, %s stored in one copy: codec "
	       "%.2f\n",
	       text_bytes_human(plain, s->plain),
	       text_bytes_human(holes, a->root.length - root_data_bytes(&a->root)),
	       text_bytes_human(shared, s->plain - MIN_OF(s->plain, unique_of(s))),
	       text_bytes_human(stored, scaled(s, s->stored_one)), codec_ratio(s));
	print_made_of(s);
	print_places(s);
	if (s->rate < 1)
		printf("  estimated from one block of %.0f\n", 1 / s->rate);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void set_count(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *copies_json(const struct file_stat *s)
{
	json_t *object = json_object();
	char number[16];

	for (uint32_t i = 0; i < ARRAY_COUNT(s->with_copies); i++) {
		(void)snprintf(number, sizeof number, "%u", i);
		if (s->with_copies[i])
			set_count(object, number, scaled(s, s->with_copies[i]));
	}
	return object;
}

static json_t *servers_json(const struct file_stat *s)
{
	const struct map *map = tree_reader_map(s->reader);
	json_t *object = json_object();
	char number[16];

	for (uint32_t i = 0; i < map_server_count(map); i++) {
		(void)snprintf(number, sizeof number, "%" PRIu32, map_server_at(map, i)->server);
		if (s->on_server[i])
			set_count(object, number, scaled(s, s->on_server[i]));
	}
	return object;
}

static json_t *codecs_json(const struct file_stat *s)
{
	json_t *object = json_object(), *one;

	for (uint32_t i = 0; i < ARRAY_COUNT(s->codecs); i++) {
		if (!s->codecs[i].copies)
			continue;
		one = json_object();
		set_count(one, "copies", scaled(s, s->codecs[i].copies));
		set_count(one, "bytes_plain", scaled(s, s->codecs[i].plain));
		set_count(one, "bytes_stored", scaled(s, s->codecs[i].stored));
		json_object_set_new(object, codec_text(i), one);
	}
	return object;
}

static json_t *dtypes_json(const struct file_stat *s)
{
	json_t *object = json_object();

	for (uint32_t i = 0; i <= TENSORS_DTYPES; i++)
		if (s->dtypes[i])
			set_count(object, dtype_text(i), s->dtypes[i]);
	return object;
}

static json_t *shared_json(const struct file_stat *s, const struct arguments *a, const char *among)
{
	json_t *files = json_array();

	for (uint32_t i = 0; i < s->shared_count && i < a->top; i++)
		json_array_append_new(files, json_pack("{s:s, s:I}", "path",
						       text_printable(s->shared[i].path), "bytes",
						       (json_int_t)(s->shared[i].bytes + 0.5)));
	return json_pack("{s:s%, s:b, s:I, s:b, s:I, s:I, s:o}", "among", among, strlen(among),
			 "deep", a->among != NULL, "searched", (json_int_t)s->searched, "partly",
			 (int)s->search_ended_early, "sharing", (json_int_t)s->sharing, "bytes",
			 (json_int_t)(s->shared_bytes + 0.5), "files", files);
}

static json_t *make_json(const struct file_stat *s, const char *path)
{
	const struct tree_attr *a = &s->attr;
	char hex[BLOCK_ID_HEX_BYTES];
	json_t *object = json_pack(
		"{s:s%, s:I, s:I, s:I, s:s, s:s, s:s, s:i, s:f, s:f, s:b}", "path", path,
		strlen(path), "inode", (json_int_t)a->ino, "version", (json_int_t)a->version,
		"size", (json_int_t)a->size, "kind", kind_name(a), "root",
		block_id_hex(&a->root.id, hex), "cut", cut_name(a), "depth", (int)a->root.depth,
		"codec", codec_ratio(s), "rate", s->rate, "complete", s->short_blocks == 0);

	if (!object)
		return NULL;
	set_count(object, "blocks", s->blocks);
	set_count(object, "nodes", s->nodes);
	set_count(object, "distinct", scaled(s, s->distinct));
	set_count(object, "bytes_plain", s->plain);
	set_count(object, "bytes_holes", a->root.length - root_data_bytes(&a->root));
	set_count(object, "bytes_unique", unique_of(s));
	set_count(object, "bytes_shared", s->plain - MIN_OF(s->plain, unique_of(s)));
	set_count(object, "bytes_stored", scaled(s, s->stored_one));
	set_count(object, "bytes_stored_all", scaled(s, s->stored_all));
	set_count(object, "unanswered", scaled(s, s->silent));
	set_count(object, "tensors", s->tensor_count);
	json_object_set_new(object, "format", json_string(tensors_format_name(s->format)));
	json_object_set_new(object, "copies", copies_json(s));
	json_object_set_new(object, "servers", servers_json(s));
	json_object_set_new(object, "codecs", codecs_json(s));
	json_object_set_new(object, "dtypes", dtypes_json(s));
	return object;
}

/* --- the command ------------------------------------------------------------------------------ */

/* Where other files are looked for: --among, or the folder of the path. */
static void among_of(const struct arguments *a, const char *path, char out[PATH_MAX])
{
	const char *slash = strrchr(path, '/');

	if (a->among)
		(void)text_copy(out, PATH_MAX, a->among);
	else if (slash == path)
		(void)text_copy(out, PATH_MAX, "/");
	else
		(void)snprintf(out, PATH_MAX, "%.*s", slash ? (int)(slash - path) : 1,
			       slash ? path : ".");
}

static int show(struct file_stat *s, const struct arguments *a, const char *path, json_t *all,
		struct error *err)
{
	struct listing listing = {s, all && a->blocks ? json_array() : NULL};
	json_t *object = all ? make_json(s, path) : NULL;
	char among[PATH_MAX];
	inode_no dir = 0;
	int rc = 0;

	if (!all)
		print_people(s, path);
	if (root_has_blocks(&s->attr.root)) {
		if (a->blocks)
			rc = tree_reader_walk(s->reader, &s->attr.root, list_block, &listing, err);
		among_of(a, path, among);
		if (rc == 0)
			rc = path_inode(among, &dir, err);
		if (rc == 0)
			rc = file_stat_search(s, dir, a->among != NULL, err);
		if (rc == 0 && !all)
			print_shared(s, a, among);
		if (rc == 0 && object)
			json_object_set_new(object, "shared", shared_json(s, a, among));
	}
	if (object && listing.list)
		json_object_set(object, "list", listing.list);
	json_decref(listing.list);
	if (object)
		json_array_append_new(all, object);
	return rc;
}

/* 1: every block has all copies; 0: not; or an error. */
static int stat_one(struct tree_reader *reader, const struct arguments *a, const char *path,
		    json_t *all, struct error *err)
{
	struct file_stat *s = file_stat_create(reader, (uint32_t)a->sample);
	inode_no ino = 0;
	int rc = s ? path_inode(path, &ino, err) : error_set(err, -E_NOMEM, "cannot start");

	if (s)
		progress_line_begin(&s->progress);
	if (rc == 0)
		rc = file_stat_look(s, ino, err);
	if (rc == 0)
		rc = show(s, a, path, all, err);
	if (rc == 0)
		rc = s->short_blocks == 0;
	file_stat_destroy(s);
	return rc;
}

static const struct argp_option argp_options[] = {
	{"blocks", 'b', NULL, 0, "list every block with its servers", 0},
	{"among", 'a', "DIR", 0, "look for files that share with it below DIR, not beside it", 0},
	{"top", 't', "N", 0, "name the N that share most (10)", 0},
	{"sample", 's', "BLOCKS", 0, "distinct blocks that are remembered (262144)", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'b':
		a->blocks = true;
		break;
	case 'a':
		a->among = text;
		break;
	case 't':
		if (text_parse_u64(text, &a->top) < 0 || a->top > FILE_STAT_SHARED_MAX)
			argp_error(state, "--top wants 0 to %u", FILE_STAT_SHARED_MAX);
		break;
	case 's':
		if (text_parse_u64(text, &a->sample) < 0 || a->sample < SAMPLE_BLOCKS_MIN ||
		    a->sample > SAMPLE_BLOCKS_MAX)
			argp_error(state, "--sample wants %u to %u", SAMPLE_BLOCKS_MIN,
				   SAMPLE_BLOCKS_MAX);
		break;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->target;
		break;
	case ARGP_KEY_ARG:
		command_add_path(state, text, &a->paths, &a->path_count);
		break;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "wants a path");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	argp_options,
	parse_option,
	"PATH...",
	"Show what files of a mount are made of, which servers hold their blocks, and which files "
	"share with them."
	"\vExit status: 0 every block has all its copies, 1 not, 2 usage, 3 unreachable. See "
	"cairn-stat(1).",
	command_target_options,
	NULL,
	NULL};

int cmd_stat(int argc, char **argv)
{
	struct arguments a = {.top = SHOWN_DEFAULT, .sample = SAMPLE_BLOCKS_DEFAULT};
	struct error err = {0};
	struct tree_reader *reader = NULL;
	json_t *all = NULL;
	int status = COMMAND_DONE;

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	if (tree_reader_open(a.target.mds, &reader, &err) < 0)
		return command_fail("stat", &err);
	all = a.target.json ? json_array() : NULL;
	for (int i = 0; i < a.path_count; i++) {
		int rc = stat_one(reader, &a, a.paths[i], all, &err);

		if (rc < 0)
			status = command_fail("stat", &err);
		else if (rc == 0 && status == COMMAND_DONE)
			status = COMMAND_FAILED;
	}
	if (all && json_dumpf(all, stdout, JSON_INDENT(2) | JSON_SORT_KEYS) == 0)
		putchar('\n');
	json_decref(all);
	tree_reader_close(reader);
	return status;
}

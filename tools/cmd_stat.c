/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn stat PATH...: what a file of a mount is made of, and which servers hold it.
 * Exit status: 0 every block has all copies, 1 not or failed, 2 usage, 3 unreachable.
 */
#define HASH_NONFATAL_OOM 1 /* an add that failed leaves hh.tbl NULL */
#include "tools/command.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <uthash.h>

#include "fs/base/text.h"
#include "tools/path_inode.h"
#include "tools/tree_reader.h"

struct arguments {
	struct command_target target;
	bool blocks;
	char **paths;
	int path_count;
};

/* A distinct block of the file. */
struct seen {
	struct block_id id;
	struct tree_copies copies;
	UT_hash_handle hh;
};

struct report {
	const struct arguments *arguments;
	struct tree_reader *reader;
	struct error *err;
	struct seen *seen;
	json_t *list; /* of --blocks with --json */
	uint64_t blocks, nodes, distinct;
	uint64_t plain_bytes, stored_bytes,
		shared_bytes; /* of data; shared: found again in this file */
	uint64_t short_blocks, silent;
	uint64_t with_copies[COPIES_MAX + FORMERS_MAX + 1];
	uint64_t on_server[SERVERS_MAX];
	server_no servers[SERVERS_MAX];
	uint32_t server_count;
};

/* --- counting --------------------------------------------------------------------------------- */

static void count_server(struct report *r, server_no server)
{
	uint32_t i = 0;

	while (i < r->server_count && r->servers[i] < server)
		i++;
	if (i < r->server_count && r->servers[i] == server) {
		r->on_server[i]++;
		return;
	}
	if (r->server_count == SERVERS_MAX)
		return;
	memmove(&r->servers[i + 1], &r->servers[i], (r->server_count - i) * sizeof *r->servers);
	memmove(&r->on_server[i + 1], &r->on_server[i],
		(r->server_count - i) * sizeof *r->on_server);
	r->servers[i] = server;
	r->on_server[i] = 1;
	r->server_count++;
}

static int see(struct report *r, const struct tree_block *block, struct seen **out)
{
	struct seen *s;
	int rc;

	HASH_FIND(hh, r->seen, &block->id, sizeof block->id, s);
	if (s) {
		if (!block->is_node)
			r->shared_bytes += block->length;
		*out = s;
		return 0;
	}
	s = calloc(1, sizeof *s);
	if (!s)
		return error_set(r->err, -E_NOMEM, "cannot remember a block");
	s->id = block->id;
	rc = tree_reader_copies(r->reader, &s->id, 1, &s->copies, r->err);
	if (rc == 0) {
		HASH_ADD(hh, r->seen, id, sizeof s->id, s);
		rc = s->hh.tbl ? 0 : error_set(r->err, -E_NOMEM, "cannot remember a block");
	}
	if (rc < 0) {
		free(s);
		return rc;
	}
	r->distinct++;
	r->stored_bytes += s->copies.held_count ? s->copies.held[0].stored : 0;
	r->with_copies[s->copies.held_count]++;
	r->short_blocks += s->copies.held_count < s->copies.wanted;
	r->silent += s->copies.silent_count;
	for (uint32_t i = 0; i < s->copies.held_count; i++)
		count_server(r, s->copies.held[i].server);
	*out = s;
	return 0;
}

static void show_block(struct report *r, const struct tree_block *b, const struct tree_copies *c)
{
	char hex[BLOCK_ID_HEX_BYTES], servers[128] = "";
	json_t *held;

	block_id_hex(&b->id, hex);
	if (r->list) {
		held = json_array();
		for (uint32_t i = 0; i < c->held_count; i++)
			json_array_append_new(held, json_integer(c->held[i].server));
		json_array_append_new(
			r->list, json_pack("{s:s, s:I, s:I, s:b, s:I, s:o}", "id", hex, "offset",
					   (json_int_t)b->offset, "length", (json_int_t)b->length,
					   "node", (int)b->is_node, "stored",
					   (json_int_t)(c->held_count ? c->held[0].stored : 0), "servers", held));
		return;
	}
	for (uint32_t i = 0; i < c->held_count; i++)
		(void)snprintf(servers + strlen(servers), sizeof servers - strlen(servers),
			       " %" PRIu32, c->held[i].server);
	printf("  %12" PRIu64 " %8" PRIu64 " %-5s %s %7" PRIu32 " stored, servers%s\n", b->offset,
	       b->length, b->is_node ? "node" : "block", hex, c->held_count ? c->held[0].stored : 0,
	       servers[0] ? servers : " none");
}

static int on_block(void *arg, const struct tree_block *block)
{
	struct report *r = arg;
	struct seen *s = NULL;
	int rc = see(r, block, &s);

	if (rc < 0)
		return rc;
	r->nodes += block->is_node;
	r->blocks += !block->is_node;
	r->plain_bytes += block->is_node ? 0 : block->length;
	if (r->arguments->blocks)
		show_block(r, block, &s->copies);
	return 0;
}

static void forget(struct report *r)
{
	struct seen *s, *next;

	HASH_ITER (hh, r->seen, s, next) {
		HASH_DEL(r->seen, s);
		free(s);
	}
}

/* --- showing ---------------------------------------------------------------------------------- */

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

static void print_people(const struct report *r, const char *path, const struct tree_attr *a)
{
	char plain[TEXT_BYTES_HUMAN], stored[TEXT_BYTES_HUMAN], shared[TEXT_BYTES_HUMAN];
	char hex[BLOCK_ID_HEX_BYTES];

	printf("%s: inode %" PRIu64 ", version %" PRIu64 ", %" PRIu64 " bytes, %s\n", path, a->ino,
	       a->version, a->size,
	       a->root.kind == ROOT_INLINE ? "inline: the bytes are in the metadata server"
					   : kind_name(a));
	if (!root_has_blocks(&a->root))
		return;
	printf("  root %s, depth %u; %" PRIu64 " blocks, %" PRIu64 " nodes, %" PRIu64 " distinct\n",
	       block_id_hex(&a->root.id, hex), a->root.depth, r->blocks, r->nodes, r->distinct);
	printf("  cut %s\n", a->root.cutter ? "by content" : "on a grid");
	printf("  %s of data, %s shared within the file, %s stored in one copy\n",
	       text_bytes_human(plain, r->plain_bytes), text_bytes_human(shared, r->shared_bytes),
	       text_bytes_human(stored, r->stored_bytes));
	for (uint32_t i = 0; i < ARRAY_COUNT(r->with_copies); i++)
		if (r->with_copies[i])
			printf("  %" PRIu64 " blocks on %u servers\n", r->with_copies[i], i);
	for (uint32_t i = 0; i < r->server_count; i++)
		printf("  server %-4" PRIu32 " holds %" PRIu64 "\n", r->servers[i],
		       r->on_server[i]);
	if (r->silent)
		printf("  %" PRIu64 " questions were not answered: a server is down\n", r->silent);
}

static json_t *make_json(const struct report *r, const char *path, const struct tree_attr *a)
{
	json_t *histogram = json_object(), *servers = json_object(), *object;
	char hex[BLOCK_ID_HEX_BYTES], number[16];

	for (uint32_t i = 0; i < ARRAY_COUNT(r->with_copies); i++) {
		(void)snprintf(number, sizeof number, "%u", i);
		if (r->with_copies[i])
			json_object_set_new(histogram, number,
					    json_integer((json_int_t)r->with_copies[i]));
	}
	for (uint32_t i = 0; i < r->server_count; i++) {
		(void)snprintf(number, sizeof number, "%u", r->servers[i]);
		json_object_set_new(servers, number, json_integer((json_int_t)r->on_server[i]));
	}
	object = json_pack("{s:s%, s:I, s:I, s:I, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, "
			   "s:o, s:o, s:I, s:b, s:b}",
			   "path", path, strlen(path), "inode", (json_int_t)a->ino, "version",
			   (json_int_t)a->version, "size", (json_int_t)a->size, "kind",
			   kind_name(a), "root", block_id_hex(&a->root.id, hex), "depth",
			   (int)a->root.depth, "blocks", (json_int_t)r->blocks, "nodes",
			   (json_int_t)r->nodes, "distinct", (json_int_t)r->distinct, "bytes_plain",
			   (json_int_t)r->plain_bytes, "bytes_shared", (json_int_t)r->shared_bytes,
			   "bytes_stored", (json_int_t)r->stored_bytes, "copies", histogram,
			   "servers", servers, "unanswered", (json_int_t)r->silent, "complete",
			   r->short_blocks == 0, "cut_by_content", a->root.cutter > 0);
	if (object && r->list)
		json_object_set(object, "list", r->list);
	return object;
}

/* --- the command ------------------------------------------------------------------------------ */

/* 1: every block has all copies; 0: not; or an error. */
static int stat_one(struct report *r, const char *path, json_t *all)
{
	struct tree_attr attr;
	inode_no ino = 0;
	int rc = path_inode(path, &ino, r->err);

	if (rc == 0)
		rc = tree_reader_attr(r->reader, ino, &attr, r->err);
	if (rc == 0 && r->arguments->blocks && all)
		r->list = json_array();
	if (rc == 0)
		rc = tree_reader_walk(r->reader, &attr.root, on_block, r, r->err);
	if (rc == 0 && all)
		json_array_append_new(all, make_json(r, path, &attr));
	else if (rc == 0)
		print_people(r, path, &attr);
	json_decref(r->list);
	forget(r);
	return rc < 0 ? rc : r->short_blocks == 0;
}

static const struct argp_option argp_options[] = {
	{"blocks", 'b', NULL, 0, "list every block with its servers", 0},
	{0},
};

static error_t parse_option(int key, char *text unused_arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'b':
		a->blocks = true;
		break;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->target;
		break;
	case ARGP_KEY_ARGS:
		a->paths = state->argv + state->next;
		a->path_count = state->argc - state->next;
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
	"Show what files of a mount are made of, and which servers hold their blocks."
	"\vExit status: 0 every block has all its copies, 1 not, 2 usage, 3 unreachable. See "
	"cairn-stat(1).",
	command_target_options,
	NULL,
	NULL};

int cmd_stat(int argc, char **argv)
{
	struct arguments a = {0};
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
		struct report *r = calloc(1, sizeof *r);
		int rc = r ? 0 : error_set(&err, -E_NOMEM, "cannot start");

		if (r) {
			r->arguments = &a;
			r->reader = reader;
			r->err = &err;
			rc = stat_one(r, a.paths[i], all);
		}
		free(r);
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn quota set|get|list|clear: limits of a directory and all below it.
 * Exit status: 0 done, 1 failed, 2 usage, 3 unreachable.
 */
#include "tools/command.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/admin.h"
#include "tools/path_inode.h"

#define CALL_MS 10000u

enum { MASK_BYTES = 1, MASK_FILES = 2, MASK_CLEAR = 4 };

struct arguments {
	struct command_target target;
	const char *action, *path;
	uint64_t bytes, files;
	uint32_t mask;
};

/* --- showing ---------------------------------------------------------------------------------- */

/* What the tree is limited by and uses; the path is as the metadata server sees it. */
static json_t *quota_json(const Wire__Quota *q)
{
	return json_pack("{s:s%, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "path",
			 q->path[0] ? q->path : "/", strlen(q->path[0] ? q->path : "/"), "inode",
			 (json_int_t)q->ino, "parent", (json_int_t)q->parent, "bytes_max",
			 (json_int_t)q->bytes_max, "bytes", (json_int_t)q->bytes, "bytes_reserved",
			 (json_int_t)q->bytes_reserved, "files_max", (json_int_t)q->files_max,
			 "files", (json_int_t)q->files, "ending", (int)q->ending);
}

static void print_people(const Wire__Quota *q)
{
	char used[TEXT_BYTES_HUMAN], most[TEXT_BYTES_HUMAN], files[24] = "-";

	if (q->files_max)
		(void)snprintf(files, sizeof files, "%" PRIu64, q->files_max);
	printf("%12s %12s %12" PRIu64 " %12s  %s%s\n", text_bytes_human(used, q->bytes),
	       q->bytes_max ? text_bytes_human(most, q->bytes_max) : "-", q->files, files,
	       text_printable(q->path[0] ? q->path : "/"), q->ending ? " (being removed)" : "");
}

struct listing {
	json_t *array; /* NULL: for people */
	uint64_t count;
	bool counting;
};

static void show(struct listing *l, const Wire__Quota *q)
{
	if (l->array)
		json_array_append_new(l->array, quota_json(q));
	else if (l->count == 0)
		printf("%12s %12s %12s %12s  %s\n", "bytes", "limit", "files", "limit",
		       "directory");
	if (!l->array)
		print_people(q);
	l->count++;
}

/* --- asking ----------------------------------------------------------------------------------- */

static int list_pages(struct admin *admin, inode_no ino, struct listing *l, struct error *err)
{
	Wire__QuotaList ask = WIRE__QUOTA_LIST__INIT;
	bool is_end = false;

	ask.ino = ino;
	while (!is_end) {
		ProtobufCMessage *reply = NULL;
		const Wire__QuotaListReply *page;
		int rc = admin_call(admin, MSG_QUOTA_LIST, &ask.base, CALL_MS, &reply, err);

		if (rc < 0)
			return rc;
		page = (const void *)reply;
		for (size_t i = 0; i < page->n_quotas; i++) {
			show(l, page->quotas[i]);
			ask.from = page->quotas[i]->ino + 1;
		}
		is_end = page->end || page->n_quotas == 0;
		l->counting = page->counting;
		msg_free(reply);
	}
	return 0;
}

static int list(struct admin *admin, const struct arguments *a, inode_no ino, struct error *err)
{
	struct listing l = {.array = a->target.json ? json_array() : NULL};
	int rc = list_pages(admin, ino, &l, err);

	if (rc == 0 && a->target.json) {
		json_t *all = json_pack("{s:O, s:b}", "quotas", l.array, "counting",
					(int)l.counting);
		if (json_dumpf(all, stdout, JSON_INDENT(2) | JSON_SORT_KEYS) == 0)
			putchar('\n');
		json_decref(all);
	} else if (rc == 0 && l.count == 0) {
		puts(ino ? "no quota limits this path" : "no directory has a quota");
	} else if (rc == 0 && l.counting) {
		puts("a quota was set or cleared lately: its tree is still being counted");
	}
	json_decref(l.array);
	return rc;
}

static int set(struct admin *admin, const struct arguments *a, inode_no ino, struct error *err)
{
	Wire__QuotaSet ask = WIRE__QUOTA_SET__INIT;
	ProtobufCMessage *reply = NULL;
	int rc;

	if (geteuid() != 0)
		return error_set(err, -E_PERM, "only root may change quotas");
	ask.ino = ino;
	ask.mask = a->mask;
	ask.bytes = a->bytes;
	ask.files = a->files;
	rc = admin_call(admin, MSG_QUOTA_SET, &ask.base, CALL_MS, &reply, err);
	msg_free(reply);
	switch (rc) {
	case -E_NOTDIR:
		return error_say(err, rc, "'%s' is no directory", a->path);
	case -E_NOENT:
		return error_say(err, rc, "'%s' has no quota of its own", a->path);
	case -E_MLINK:
		return error_say(err, rc, "there are too many quotas already, or too many inside "
					  "one another: see cairn-quota(1)");
	default:
		return rc;
	}
}

/* --- the command ------------------------------------------------------------------------------ */

static const struct argp_option options[] = {
	{"bytes", 'b', "N", 0, "limit of data bytes, as 500G; 0: none", 0},
	{"files", 'f', "N", 0, "limit of inodes; 0: none", 0},
	{0},
};

static error_t take_word(struct arguments *a, char *text)
{
	if (!a->action)
		a->action = text;
	else if (!a->path)
		a->path = text;
	else
		return EINVAL;
	return 0;
}

static void check_words(const struct arguments *a, struct argp_state *state)
{
	static const char *const actions[] = {"list", "get", "clear", "set"};
	size_t i = 0;

	while (i < ARRAY_COUNT(actions) && a->action && strcmp(a->action, actions[i]) != 0)
		i++;
	if (!a->action || i == ARRAY_COUNT(actions))
		argp_error(state, "wants set, get, clear or list");
	else if (i > 0 && !a->path)
		argp_error(state, "%s wants a path", a->action);
	else if (i == 0 && a->path)
		argp_error(state, "list takes no path: get shows the quotas of one");
	else if (i < 3 && a->mask)
		argp_error(state, "only set takes --bytes and --files");
	else if (i == 3 && !a->mask)
		argp_error(state, "set wants --bytes, --files or both");
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'b':
		a->mask |= MASK_BYTES;
		if (text_parse_bytes(text, &a->bytes) < 0)
			argp_error(state, "'%s' is no number of bytes, such as 500G", text);
		return 0;
	case 'f':
		a->mask |= MASK_FILES;
		if (text_parse_u64(text, &a->files) < 0)
			argp_error(state, "'%s' is no number", text);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->target;
		return 0;
	case ARGP_KEY_ARG:
		if (take_word(a, text) != 0)
			argp_error(state, "too many arguments");
		return 0;
	case ARGP_KEY_END:
		check_words(a, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int run(const struct arguments *a, struct error *err)
{
	struct admin *admin = NULL;
	char address[256];
	inode_no ino = 0;
	int rc = a->path ? path_inode(a->path, &ino, err) : 0;

	if (rc == 0)
		rc = admin_find(a->target.mds, address, sizeof address, err);
	if (rc == 0)
		rc = admin_open(address, &admin, err);
	if (rc == 0)
		rc = a->mask ? set(admin, a, ino, err) : list(admin, a, ino, err);
	admin_close(admin);
	return rc;
}

int cmd_quota(int argc, char **argv)
{
	static const struct argp argp = {options,
					 parse_option,
					 "set PATH [--bytes N] [--files N]\n"
					 "get PATH\n"
					 "clear PATH\n"
					 "list",
					 "Limit what a directory and all below it may hold: data "
					 "bytes, and inodes.",
					 command_target_options,
					 NULL,
					 NULL};
	struct arguments a = {.action = NULL};
	struct error err = {0};

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	if (strcmp(a.action, "clear") == 0)
		a.mask = MASK_CLEAR;
	return run(&a, &err) < 0 ? command_fail("quota", &err) : COMMAND_DONE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn df: what is stored, and what dedup and codecs save, apart and honestly. Of the whole
 * cluster by what servers tell; with a path or an option, by a walk (usage.h).
 */
#include "tools/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"
#include "tools/path_inode.h"
#include "tools/status.h"
#include "tools/usage_report.h"

#define WHAT_IF_BLOCKS 2048u

struct arguments {
	struct command_target target;
	const char *path;
	enum usage_by by;
	enum codec_aim what_if;
	bool has_what_if, has_walk_option;
	uint64_t sample, seed;
};

/* --- of the whole cluster, as servers tell ---------------------------------------------------- */

static json_t *df_json(const struct status *s)
{
	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:f, s:f, s:f}}", "files",
		(json_int_t)s->reply->files, "bytes_logical", (json_int_t)s->reply->bytes_logical,
		"bytes_unique", (json_int_t)s->bytes_unique, "bytes_stored",
		(json_int_t)s->bytes_stored, "bytes_free", (json_int_t)s->bytes_free, "bytes_total",
		(json_int_t)s->bytes_total, "copies", (json_int_t)s->reply->copies, "ratio",
		"dedup", s->ratio_dedup, "codec", s->ratio_codec, "total", s->ratio_total);
}

static void print_line(const char *what, uint64_t bytes, const char *note)
{
	char human[TEXT_BYTES_HUMAN];

	printf("  %-10s %12s  %s\n", what, text_bytes_human(human, bytes), note);
}

static void print_cluster(const struct status *s)
{
	char note[96];
	uint32_t copies = s->reply->copies ? s->reply->copies : 1;

	print_line("logical", s->reply->bytes_logical, "what the files say they hold");
	if (s->reply->deleted_files)
		print_line("deleted", s->reply->deleted_bytes,
			   "of that, in trash for a time: cairn trash");
	snprintf(note, sizeof note, "distinct blocks and manifests, plain: dedup %.2f",
		 s->ratio_dedup);
	print_line("unique", s->bytes_unique, note);
	snprintf(note, sizeof note, "encoded, all %u copies: codec %.2f", copies, s->ratio_codec);
	print_line("stored", s->bytes_stored, note);
	snprintf(note, sizeof note,
		 "on the servers that are there; about %.1f GiB of new unique data",
		 (double)(s->bytes_free / copies) / (double)GiB(1));
	print_line("free", s->bytes_free, note);
	puts("Unique and stored count what deleted files leave until it is collected: cairn gc");
}

static int df_cluster(const struct arguments *a)
{
	struct status s;
	struct error err = {0};
	int status = COMMAND_DONE;

	if (status_get(a->target.mds, &s, &err) < 0)
		return command_fail("df", &err);
	if (a->target.json)
		status = status_print_json(df_json(&s));
	else
		print_cluster(&s);
	status_finish(&s);
	return status;
}

/* --- of a tree -------------------------------------------------------------------------------- */

static int find_start(const struct arguments *a, inode_no *out, struct error *err)
{
	*out = INODE_ROOT;
	return a->path ? path_inode(a->path, out, err) : 0;
}

static int look(struct usage *u, const struct arguments *a, struct error *err)
{
	inode_no from = 0;
	int rc = find_start(a, &from, err);

	progress_line_begin(&u->progress);
	u->name = a->path ? a->path : "/";
	if (rc == 0)
		rc = usage_walk(u, from, err);
	if (rc == 0)
		rc = usage_ask(u, err);
	if (rc == 0 && a->has_what_if)
		rc = usage_what_if(u, a->what_if, WHAT_IF_BLOCKS, err);
	if (rc == 0)
		usage_add_up(u);
	return rc;
}

static int show(const struct usage *u, const struct arguments *a)
{
	const char *path = a->path ? a->path : "/";

	if (a->target.json) {
		int status = status_print_json(usage_report_json(u, path));

		return u->unreadable ? COMMAND_FAILED : status;
	}
	usage_report_print(u, path);
	if (u->unreadable)
		fprintf(stderr, "cairn df: cannot read %llu files, the first is '%s'\n",
			(unsigned long long)u->unreadable, u->first_unreadable);
	return u->unreadable ? COMMAND_FAILED : COMMAND_DONE;
}

static int df_tree(const struct arguments *a)
{
	struct tree_reader *reader = NULL;
	struct usage *u = NULL;
	struct error err = {0};
	int status;
	int rc = tree_reader_open(a->target.mds, &reader, &err);

	if (rc == 0) {
		u = usage_create(reader, a->by, (uint32_t)a->sample, a->seed);
		rc = u ? look(u, a, &err) : error_set(&err, -E_NOMEM, "cannot start");
	}
	status = rc < 0 ? command_fail("df", &err) : show(u, a);
	usage_destroy(u);
	tree_reader_close(reader);
	return status;
}

/* --- options ---------------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
	{"by", 'b', "GROUP", 0, "type, dtype, dir or codec: a line for each", 0},
	{"what-if", 'w', "CODEC", 0,
	 "what would be stored by raw, lz4, zstd, nibble, planes, auto, small", 0},
	{"sample", 's', "BLOCKS", 0, "distinct blocks that are remembered (262144)", 0},
	{"seed", 'S', "N", 0, "another seed, another sample", 0},
	{0},
};

static void parse_by(struct arguments *a, const char *text, struct argp_state *state)
{
	static const char *const NAMES[] = {"", "type", "dtype", "dir", "codec"};

	for (enum usage_by by = USAGE_BY_TYPE; by <= USAGE_BY_CODEC; by++)
		if (strcmp(text, NAMES[by]) == 0)
			a->by = by;
	if (a->by == USAGE_BY_NONE)
		argp_error(state, "--by wants type, dtype, dir or codec");
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	a->has_walk_option |= key == 'b' || key == 'w' || key == 's' || key == 'S';
	switch (key) {
	case 'b':
		parse_by(a, text, state);
		break;
	case 'w':
		a->has_what_if = true;
		if (codec_aim_parse(text, &a->what_if) < 0)
			argp_error(state, "'%s' is no codec", text);
		break;
	case 's':
		if (text_parse_u64(text, &a->sample) < 0 || a->sample < SAMPLE_BLOCKS_MIN ||
		    a->sample > SAMPLE_BLOCKS_MAX)
			argp_error(state, "--sample wants %u to %u", SAMPLE_BLOCKS_MIN,
				   SAMPLE_BLOCKS_MAX);
		break;
	case 'S':
		if (text_parse_u64(text, &a->seed) < 0)
			argp_error(state, "--seed wants a number");
		break;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->target;
		break;
	case ARGP_KEY_ARG:
		if (a->path)
			argp_error(state, "wants one path");
		a->path = text;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {argp_options,
				 parse_option,
				 "[PATH]",
				 "Show what is stored, and what dedup and codecs save."
				 "\vWithout a path and --by, --what-if, --sample: what the servers "
				 "tell of the whole cluster. "
				 "Else the tree is walked. See cairn-df(1).",
				 command_target_options,
				 NULL,
				 NULL};

int cmd_df(int argc, char **argv)
{
	struct arguments a = {.sample = SAMPLE_BLOCKS_DEFAULT};

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	return a.path || a.has_walk_option ? df_tree(&a) : df_cluster(&a);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* cairn analyze FILE...: what files would cost, block by block, without a cluster. */
#include "tools/command.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/plot.h"
#include "tools/progress_bar.h"
#include "tools/status.h"

#define NAME_SHOWN    32u
#define TENSORS_SHOWN 10u
#define CUT_BYTES_MIN MiB(1) /* as client.seal_min_bytes is, if nobody sets it */
#define WIDTH_DEFAULT 80u
#define WIDTH_MARGIN  12u
#define BYTES_PER_GB  1e9

struct arguments {
	bool json, block_list, speed, is_grid, plot_text;
	enum hash_kind hash;
	enum codec_aim aim;
	const char *plot; /* a PNG; NULL: none */
	char **paths;
	int path_count;
};

struct work {
	const struct arguments *arguments;
	struct analyzer *analyzer;
	struct speed_blocks blocks;
	struct plot_file plots[PLOT_FILES_MAX];
	uint32_t plot_count;
	json_t *files, *list; /* of all; of the blocks of one file */
	struct analyze_sums total;
	struct progress_bar bar;
	uint64_t bytes; /* of all files, as they were at the begin */
};

static double ratio_of(uint64_t plain, uint64_t encoded)
{
	return plain && encoded ? (double)plain / (double)encoded : 1;
}

static const char *dtype_text(uint32_t dtype)
{
	return dtype < TENSORS_DTYPES ? tensors_dtype_name((enum tensors_dtype)dtype)
				      : "(no tensor)";
}

/* "planes 2+0 rotated" */
static const char *plan_text(char out[48], const struct codec_plan *plan)
{
	if (plan->stride)
		(void)snprintf(out, 48, "%s %u+%u%s", codec_name(plan->codec), plan->stride,
			       plan->phase, plan->rotate ? " rotated" : "");
	else
		(void)text_copy(out, 48, codec_name(plan->codec));
	return out;
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void list_block(struct work *w, const struct analyze_block *b)
{
	char hex[BLOCK_ID_HEX_BYTES], plan[48];
	const char *tensor = b->tensor ? b->tensor->name : "";

	block_id_hex(&b->id, hex);
	plan_text(plan, &b->plan);
	if (w->list)
		json_array_append_new(
			w->list,
			json_pack("{s:s, s:I, s:I, s:I, s:s, s:i, s:i, s:b, s:b, s:s, s:s}", "id",
				  hex, "offset", (json_int_t)b->offset, "length",
				  (json_int_t)b->length, "encoded", (json_int_t)b->encoded, "codec",
				  codec_name(b->plan.codec), "stride", b->plan.stride, "phase",
				  b->plan.phase, "rotated", b->plan.rotate, "shared", b->is_shared,
				  "tensor", tensor, "dtype",
				  b->tensor ? tensors_dtype_name(b->tensor->dtype) : ""));
	else
		printf("  %14" PRIu64 " %6" PRIu32 " %6" PRIu32 " %-20s %.16s%s %s\n", b->offset,
		       b->length, b->encoded, plan, hex, b->is_shared ? " shared" : "", tensor);
}

static int on_block(void *arg, const struct analyze_block *b, const void *plain)
{
	struct work *w = arg;

	if (w->arguments->block_list)
		list_block(w, b);
	if (w->list || !w->arguments->block_list)
		progress_bar_show(&w->bar, w->total.plain + b->offset + b->length, w->bytes);
	return w->arguments->speed ? analyze_speed_offer(&w->blocks, plain, b->length) : 0;
}

/* --- one file --------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	const struct analyze_sums *x = *(const struct analyze_sums *const *)a;
	const struct analyze_sums *y = *(const struct analyze_sums *const *)b;

	return (x->plain < y->plain) - (x->plain > y->plain);
}

/* The end of a long name tells more than its begin. */
static const char *short_name(char out[NAME_SHOWN + 1], const char *name)
{
	size_t len = strlen(name);

	if (len > NAME_SHOWN)
		(void)snprintf(out, NAME_SHOWN + 1, "..%s", name + len - (NAME_SHOWN - 2));
	else
		(void)text_copy(out, NAME_SHOWN + 1, name);
	return out;
}

static void print_sums(const char *name, const char *note, const struct analyze_sums *s)
{
	char plain[TEXT_BYTES_HUMAN], encoded[TEXT_BYTES_HUMAN], shared[TEXT_BYTES_HUMAN];
	char shown[NAME_SHOWN + 1];

	printf("    %-32s %-8s %11s %11s %6.2f %11s\n", short_name(shown, name), note,
	       text_bytes_human(plain, s->plain), text_bytes_human(encoded, s->encoded),
	       ratio_of(s->plain, s->encoded), text_bytes_human(shared, s->shared));
}

static void print_tensors(const struct analysis *a)
{
	uint32_t count = a->tensors.count;
	const struct analyze_sums **order = calloc(MAX_OF(count, 1u), sizeof *order);

	for (uint32_t i = 0; order && i < count; i++)
		order[i] = &a->by_tensor[i];
	if (order)
		qsort(order, count, sizeof *order, by_size);
	for (uint32_t i = 0; order && i < count && i < TENSORS_SHOWN; i++) {
		const struct tensor_item *t = &a->tensors.items[order[i] - a->by_tensor];

		if (order[i]->blocks)
			print_sums(t->name, tensors_dtype_name(t->dtype), order[i]);
	}
	if (count > TENSORS_SHOWN)
		printf("    and %" PRIu32 " tensors more: --json has them all\n",
		       count - TENSORS_SHOWN);
	free(order);
}

static uint32_t terminal_width(void)
{
	struct winsize size = {.ws_col = 0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2 * WIDTH_MARGIN)
		size.ws_col = WIDTH_DEFAULT;
	return size.ws_col - WIDTH_MARGIN;
}

static void print_file(const struct work *w, const struct analysis *a, const char *path)
{
	char human[4][TEXT_BYTES_HUMAN];

	printf("%s: %s, %s, %" PRIu64 " blocks %s\n", path, text_bytes_human(human[0], a->bytes),
	       a->tensors.count ? tensors_format_name(a->tensors.format) : "no tensors",
	       a->total.blocks, a->is_cut ? "cut by content" : "on the grid");
	printf("  encoded %s by %s: codec %.2f; of that new %s\n",
	       text_bytes_human(human[0], a->total.encoded), codec_aim_name(w->arguments->aim),
	       ratio_of(a->total.plain, a->total.encoded),
	       text_bytes_human(human[1], a->total.added));
	printf("  shared %s within it, %s with files before it: %.1f %%\n",
	       text_bytes_human(human[2], a->shared_within),
	       text_bytes_human(human[3], a->total.shared - a->shared_within),
	       a->total.plain ? 100.0 * (double)a->total.shared / (double)a->total.plain : 0.0);
	printf("    %-32s %-8s %11s %11s %6s %11s\n", "", "", "plain", "encoded", "ratio",
	       "shared");
	for (uint32_t i = 0; i <= TENSORS_DTYPES; i++)
		if (a->dtypes[i].blocks && a->tensors.count)
			print_sums(dtype_text(i), "", &a->dtypes[i]);
	for (uint32_t i = 0; i < CODEC_COUNT; i++)
		if (a->codecs[i].blocks)
			print_sums(codec_name((enum codec)i), "", &a->codecs[i]);
	print_tensors(a);
	if (a->tensors.is_short)
		printf("  its header cannot be followed to the end: tensors are missing\n");
	if (w->arguments->plot_text || isatty(STDOUT_FILENO))
		plot_text(a, terminal_width(), stdout);
}

static json_t *sums_json(const struct analyze_sums *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "blocks", (json_int_t)s->blocks,
			 "bytes_plain", (json_int_t)s->plain, "bytes_encoded",
			 (json_int_t)s->encoded, "bytes_shared", (json_int_t)s->shared,
			 "bytes_added", (json_int_t)s->added, "codec",
			 ratio_of(s->plain, s->encoded));
}

static json_t *tensors_json(const struct analysis *a)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->tensors.count; i++) {
		const struct tensor_item *t = &a->tensors.items[i];
		json_t *one = sums_json(&a->by_tensor[i]);

		json_object_set_new(one, "name", json_string(t->name));
		json_object_set_new(one, "dtype", json_string(tensors_dtype_name(t->dtype)));
		json_object_set_new(one, "offset", json_integer((json_int_t)t->offset));
		json_object_set_new(one, "length", json_integer((json_int_t)t->length));
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *file_json(const struct work *w, const struct analysis *a, const char *path)
{
	json_t *dtypes = json_object(), *codecs = json_object(), *one = sums_json(&a->total);

	for (uint32_t i = 0; i <= TENSORS_DTYPES; i++)
		if (a->dtypes[i].blocks)
			json_object_set_new(dtypes, dtype_text(i), sums_json(&a->dtypes[i]));
	for (uint32_t i = 0; i < CODEC_COUNT; i++)
		if (a->codecs[i].blocks)
			json_object_set_new(codecs, codec_name((enum codec)i),
					    sums_json(&a->codecs[i]));
	json_object_set_new(one, "path", json_string(path));
	json_object_set_new(one, "format", json_string(tensors_format_name(a->tensors.format)));
	json_object_set_new(one, "cut", json_string(a->is_cut ? "content" : "grid"));
	json_object_set_new(one, "bytes_shared_within", json_integer((json_int_t)a->shared_within));
	json_object_set_new(one, "dtypes", dtypes);
	json_object_set_new(one, "codecs", codecs);
	json_object_set_new(one, "tensors", tensors_json(a));
	json_object_set_new(one, "tensors_are_all", json_boolean(!a->tensors.is_short));
	if (w->list)
		json_object_set(one, "list", w->list);
	return one;
}

static int keep_plot(struct work *w, const struct analysis *a, const char *path)
{
	struct plot_file *plot = &w->plots[w->plot_count];

	if (!w->arguments->plot || w->plot_count == PLOT_FILES_MAX)
		return 0;
	plot->name = path;
	plot->total = a->total;
	plot->column_count = a->column_count;
	plot->columns = malloc(a->column_count * sizeof *plot->columns);
	if (!plot->columns)
		return -E_NOMEM;
	memcpy(plot->columns, a->columns, a->column_count * sizeof *plot->columns);
	w->plot_count++;
	return 0;
}

static void add(struct analyze_sums *sum, const struct analyze_sums *one)
{
	sum->blocks += one->blocks;
	sum->plain += one->plain;
	sum->encoded += one->encoded;
	sum->shared += one->shared;
	sum->added += one->added;
}

static int analyze_file(struct work *w, const char *path, struct error *err)
{
	struct analysis *a = calloc(1, sizeof *a);
	int rc = a ? 0 : error_set(err, -E_NOMEM, "cannot start");

	w->list = w->files && w->arguments->block_list ? json_array() : NULL;
	if (rc == 0)
		rc = analyze_look(w->analyzer, path, a, err);
	progress_bar_wipe(&w->bar);
	if (rc == 0) {
		add(&w->total, &a->total);
		if (w->files)
			json_array_append_new(w->files, file_json(w, a, path));
		else
			print_file(w, a, path);
		rc = keep_plot(w, a, path);
		if (rc < 0)
			(void)error_set(err, rc, "cannot plot '%s'", path);
	}
	json_decref(w->list);
	w->list = NULL;
	if (a)
		analyze_finish(a);
	free(a);
	return rc;
}

/* --- all files -------------------------------------------------------------------------------- */

static void print_total(const struct work *w)
{
	char plain[TEXT_BYTES_HUMAN], added[TEXT_BYTES_HUMAN];

	if (w->arguments->path_count > 1)
		printf("all: %s as %s: dedup %.2f, codec %.2f, total %.2f\n",
		       text_bytes_human(plain, w->total.plain),
		       text_bytes_human(added, w->total.added),
		       ratio_of(w->total.plain, w->total.plain - w->total.shared),
		       ratio_of(w->total.plain - w->total.shared, w->total.added),
		       ratio_of(w->total.plain, w->total.added));
	if (analyze_is_full(w->analyzer))
		printf("  there are more blocks than are remembered: some that are shared may "
		       "count as new\n");
}

/* Raw is sent from where it is: there is nothing to be timed. */
static void print_speed(enum codec_aim aim, const struct analyze_speed *s)
{
	char encode[16] = "";

	if (aim != CODEC_AIM_RAW)
		(void)snprintf(encode, sizeof encode, "%.2f", s->encode_bytes_per_s / BYTES_PER_GB);
	printf("  %-8s %8.2f %14s %14.2f\n", codec_aim_name(aim), ratio_of(s->plain, s->encoded),
	       encode, s->decode_bytes_per_s / BYTES_PER_GB);
}

/* Each aim that asks for one codec. */
static int show_speed(const struct work *w, json_t *out)
{
	int rc = 0;

	if (!out)
		printf("  %-8s %8s %14s %14s  (one core, %" PRIu32 " blocks)\n", "codec", "ratio",
		       "encode GB/s", "decode GB/s", w->blocks.count);
	for (uint32_t i = 0; i < CODEC_COUNT && rc == 0; i++) {
		enum codec_aim aim = codec_aim_of((enum codec)i);
		struct analyze_speed s;

		rc = analyze_speed(&w->blocks, aim, &s);
		if (rc == 0 && out)
			json_object_set_new(out, codec_aim_name(aim),
					    json_pack("{s:f, s:f, s:f}", "codec",
						      ratio_of(s.plain, s.encoded),
						      "encode_bytes_per_s", s.encode_bytes_per_s,
						      "decode_bytes_per_s", s.decode_bytes_per_s));
		else if (rc == 0)
			print_speed(aim, &s);
	}
	return rc;
}

static int print_json(struct work *w, json_t *speed)
{
	json_t *all = json_object();

	json_object_set_new(all, "total", sums_json(&w->total));
	json_object_set_new(all, "total_is_exact", json_boolean(!analyze_is_full(w->analyzer)));
	json_object_set(all, "files", w->files);
	if (speed)
		json_object_set(all, "speed", speed);
	return status_print_json(all);
}

static uint64_t bytes_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static int analyze_all(struct work *w)
{
	const struct arguments *a = w->arguments;
	json_t *speed = a->json && a->speed ? json_object() : NULL;
	struct error err = {0};
	int status = COMMAND_DONE;

	progress_bar_begin(&w->bar);
	for (int i = 0; i < a->path_count; i++)
		w->bytes += bytes_of(a->paths[i]);
	for (int i = 0; i < a->path_count; i++)
		if (analyze_file(w, a->paths[i], &err) < 0)
			status = command_fail("analyze", &err);
	if (a->speed && show_speed(w, speed) < 0) {
		(void)error_set(&err, -E_IO, "cannot measure speed");
		status = command_fail("analyze", &err);
	}
	if (a->json)
		status = print_json(w, speed) ? COMMAND_FAILED : status;
	else
		print_total(w);
	json_decref(speed);
	if (a->plot && w->plot_count > 0 && plot_png(w->plots, w->plot_count, a->plot, &err) < 0)
		status = command_fail("analyze", &err);
	return status;
}

/* --- options ---------------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
	{"codec", 'c', "CODEC", 0, "auto, small, raw, lz4, zstd, nibble or planes (auto)", 0},
	{"block-list", 'b', NULL, 0, "a line for each block", 0},
	{"grid", 'g', NULL, 0, "blocks of 64 KiB from the start, as without cutting by content", 0},
	{"hash", 'H', "NAME", 0, "block names: sha256 (default) or sha3-256", 0},
	{"speed", 's', NULL, 0, "how fast each codec encodes and decodes blocks of these files", 0},
	{"plot", 'p', "FILE.png|-", 0, "a picture; -: bars of text, as on a terminal", 0},
	{"json", 'j', NULL, 0, "print JSON", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'c':
		if (codec_aim_parse(text, &a->aim) < 0)
			argp_error(state, "'%s' is no codec", text);
		break;
	case 'b':
		a->block_list = true;
		break;
	case 'g':
		a->is_grid = true;
		break;
	case 'H':
		if (block_id_hash_parse(text, &a->hash) < 0)
			argp_error(state, "unknown hash '%s': wants sha256 or sha3-256", text);
		break;
	case 's':
		a->speed = true;
		break;
	case 'p':
		a->plot_text = strcmp(text, "-") == 0;
		a->plot = a->plot_text ? NULL : text;
		break;
	case 'j':
		a->json = true;
		break;
	case ARGP_KEY_ARG:
		command_add_path(state, text, &a->paths, &a->path_count);
		break;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "wants a file");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	argp_options,
	parse_option,
	"FILE...",
	"Show what files would cost in a cluster, block by block, without one."
	"\vA file is compared with those before it as well. See cairn-analyze(1).",
	NULL,
	NULL,
	NULL};

int cmd_analyze(int argc, char **argv)
{
	struct arguments a = {.aim = CODEC_AIM_FAST, .hash = HASH_SHA256};
	struct work *w = calloc(1, sizeof *w);
	struct error err = {0};
	int status;

	if (command_parse(&argp, argc, argv, &a) != 0) {
		free(w);
		return COMMAND_USAGE;
	}
	if (!w ||
	    analyze_create(&(struct analyze_options){a.aim, a.hash,
						     a.is_grid ? UINT64_MAX : CUT_BYTES_MIN,
						     on_block, w},
			   &w->analyzer) < 0) {
		(void)error_set(&err, -E_NOMEM, "cannot start");
		free(w);
		return command_fail("analyze", &err);
	}
	w->arguments = &a;
	w->files = a.json ? json_array() : NULL;
	status = analyze_all(w);
	for (uint32_t i = 0; i < w->plot_count; i++)
		free(w->plots[i].columns);
	analyze_speed_finish(&w->blocks);
	json_decref(w->files);
	analyze_destroy(w->analyzer);
	free(w);
	return status;
}

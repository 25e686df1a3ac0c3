/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn cache: the cache tiers of a mount, what is in them, what is on the way, what is pinned.
 */
#include "tools/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/mount_client.h"
#include "tools/patience.h"
#include "tools/status.h"

#define SHOWN_BYTES 1100u	/* more than the mount tells */

struct arguments { bool json, evict; const char *path; };

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "print JSON", 0},
	{"evict-all", 'e', NULL, 0, "first take out all that is neither pinned nor in use", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'j':
		a->json = true;
		return 0;
	case 'e':
		a->evict = true;
		return 0;
	case ARGP_KEY_ARG:
		if (a->path)
			argp_error(state, "unexpected argument '%s'", text);
		a->path = text;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* All pages of a list; `key` of the last entry is where the next one begins. */
static int ask_pages(struct mount_client *m, const char *what, const char *key, json_t *out,
		     struct error *err)
{
	json_t *reply = NULL, *entries, *after = NULL;
	bool more = true;

	while (more) {
		json_t *request = json_pack("{s:s}", "do", what);
		int rc;

		if (after)
			json_object_set(request, "after", after);
		rc = mount_client_ask(m, request, &reply, err);
		if (rc < 0) {
			json_decref(after);
			return rc;
		}
		entries = json_object_get(reply, "entries");
		json_array_extend(out, entries);
		more = json_is_true(json_object_get(reply, "more")) && json_array_size(entries);
		json_decref(after);
		after = NULL;
		if (more)
			after = json_incref(json_object_get(
				json_array_get(entries, json_array_size(entries) - 1), key));
		json_decref(reply);
	}
	return 0;
}

/* --- tables ----------------------------------------------------------------------------------- */

static void print_tier(size_t index, const json_t *t)
{
	char used[TEXT_BYTES_HUMAN], max[TEXT_BYTES_HUMAN], pinned[TEXT_BYTES_HUMAN];

	printf("%4zu  %-5s %10s %10s %10s %7" PRIu64 " %9" PRIu64 " %9" PRIu64 "  %s\n", index,
	       json_is_true(json_object_get(t, "memory")) ? "RAM" : "disk",
	       text_bytes_human(used, mount_u64(t, "bytes_used")),
	       text_bytes_human(max, mount_u64(t, "bytes_max")),
	       text_bytes_human(pinned, mount_u64(t, "bytes_pinned")), mount_u64(t, "files"),
	       mount_u64(t, "hits"), mount_u64(t, "evictions"), mount_text(t, "directory"));
	if (*mount_text(t, "problem"))
		printf("      %s: %s\n",
		       json_is_true(json_object_get(t, "broken")) ? "not used"
								   : "takes nothing new",
		       mount_text(t, "problem"));
}

/* Foreign text in a line for people. */
static const char *shown(char out[SHOWN_BYTES], const char *text)
{
	(void)text_copy(out, SHOWN_BYTES, *text ? text : "?");
	return text_printable(out);
}

static void print_file(const json_t *f)
{
	char path_shown[SHOWN_BYTES];
	char bytes[TEXT_BYTES_HUMAN], when[STATUS_WHEN_BYTES], name[24];
	uint64_t all = MAX_OF(mount_u64(f, "bytes"), 1u);
	const char *path = mount_text(f, "path"), *state = mount_text(f, "state");

	if (strcmp(state, "filling") == 0)
		(void)snprintf(name, sizeof name, "%u%%",
			       (unsigned)(mount_u64(f, "done_bytes") * 100 / all));
	else
		(void)snprintf(name, sizeof name, "%s", state);
	printf("%4" PRIu64 "  %10s  %-8s %-6s %6" PRIu64 "  %-19s  %s%s%s\n", mount_u64(f, "tier"),
	       text_bytes_human(bytes, mount_u64(f, "bytes")), name,
	       json_is_true(json_object_get(f, "pinned"))   ? "pinned"
	       : json_is_true(json_object_get(f, "in_use")) ? "open"
							    : "",
	       mount_u64(f, "uses"), status_when(when, mount_u64(f, "used_wall_ns")),
	       shown(path_shown, *path ? path : mount_text(f, "root")),
	       *mount_text(f, "why") ? "  for: " : "", mount_text(f, "why"));
}

static void print_predictor(const json_t *p)
{
	uint64_t hits = mount_u64(p, "hits"), judged = hits + mount_u64(p, "misses");
	char bytes[TEXT_BYTES_HUMAN];

	if (!json_is_true(json_object_get(p, "on"))) {
		printf("predictor: off\n");
		return;
	}
	printf("predictor: %" PRIu64 " models, %" PRIu64 " uses seen; fetched %" PRIu64
	       " ahead of use, %s",
	       mount_u64(p, "models"), mount_u64(p, "uses"), mount_u64(p, "warmed"),
	       text_bytes_human(bytes, mount_u64(p, "bytes")));
	if (judged)
		printf("; right %" PRIu64 " of %" PRIu64 " times (%u%%)", hits, judged,
		       (unsigned)(hits * 100 / judged));
	printf("\n");
}

static void print_people(const json_t *all)
{
	const json_t *tiers = json_object_get(all, "tiers"), *files = json_object_get(all, "files");
	const char *passthrough = mount_text(all, "passthrough");
	uint64_t hits = mount_u64(all, "hits"), misses = mount_u64(all, "misses");
	char have[TEXT_BYTES_HUMAN], want[TEXT_BYTES_HUMAN], path[SHOWN_BYTES];
	const json_t *entry;
	size_t i;

	if (!json_array_size(tiers)) {
		printf("this mount has no cache tier: client.tier is none, or no folder could be "
		       "used (see its log)\n");
		return;
	}
	printf("tier  kind        used      limit     pinned   files      hits   evicted  "
	       "folder\n");
	json_array_foreach(tiers, i, entry)
		print_tier(i, entry);
	printf("\nopens of large files: %" PRIu64 " found here, %" PRIu64 " not", hits, misses);
	if (hits + misses)
		printf(" (%u%%)", (unsigned)(hits * 100 / (hits + misses)));
	printf("\nthe kernel reads cached files %s%s\n", *passthrough ? "through the mount: " :
								       "itself",
	       passthrough);
	print_predictor(json_object_get(all, "predictor"));
	if (mount_u64(all, "fills"))
		printf("on the way: %" PRIu64 " files, %s of %s\n", mount_u64(all, "fills"),
		       text_bytes_human(have, mount_u64(all, "fill_done_bytes")),
		       text_bytes_human(want, mount_u64(all, "fill_bytes")));
	if (json_array_size(files))
		printf("\ntier        size  state    kept     uses  last use             file\n");
	json_array_foreach(files, i, entry)
		print_file(entry);
	if (json_array_size(json_object_get(all, "pins")))
		printf("\npinned:\n");
	json_array_foreach(json_object_get(all, "pins"), i, entry)
		printf("  %s (inode %" PRIu64 ")\n", shown(path, mount_text(entry, "path")),
		       mount_u64(entry, "ino"));
	if (*mount_text(all, "pins_problem"))
		printf("pins cannot be kept over a restart: %s\n",
		       mount_text(all, "pins_problem"));
}

/* --- the command ------------------------------------------------------------------------------ */

static int gather(struct mount_client *m, json_t **out, struct error *err)
{
	json_t *files = json_array(), *pins = json_array();
	int rc = mount_client_ask(m, json_pack("{s:s}", "do", "info"), out, err);

	if (rc == 0)
		rc = ask_pages(m, "files", "root", files, err);
	if (rc == 0)
		rc = ask_pages(m, "pins", "ino", pins, err);
	if (rc < 0) {
		json_decref(files);
		json_decref(pins);
		return rc;
	}
	json_object_set(*out, "pin_count", json_object_get(*out, "pins"));
	json_object_set_new(*out, "files", files);
	json_object_set_new(*out, "pins", pins);
	return 0;
}

static int evict_all(struct mount_client *m, bool quiet, struct error *err)
{
	char bytes[TEXT_BYTES_HUMAN];
	json_t *reply = NULL;
	int rc = mount_client_ask(m, json_pack("{s:s}", "do", "evict-all"), &reply, err);

	if (rc == 0 && !quiet)
		printf("%s taken out\n\n",
		       text_bytes_human(bytes, mount_u64(reply, "evicted_bytes")));
	json_decref(reply);
	return rc;
}

static int failed(struct error *err)
{
	if (err->code == -E_INTR)
		(void)patience_lost(err);
	return command_fail("cache", err);
}

int cmd_cache(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options, .parser = parse_option, .args_doc = "[PATH]",
		.doc = "Show the cache tiers of the mount that holds PATH (the only mount of this "
		       "host, without one): limits, hits, what is in them, what is on the way, "
		       "what is pinned."
	};
	struct arguments a = { 0 };
	struct mount_client *m = NULL;
	struct error err = { 0 };
	json_t *all = NULL;
	struct patience patience;
	int status = COMMAND_DONE, rc;

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	rc = mount_client_open(a.path, &m, &err);
	patience_begin(&patience);
	if (rc < 0 || (a.evict && evict_all(m, a.json, &err) < 0) || gather(m, &all, &err) < 0)
		status = failed(&err);
	else if (a.json)
		status = status_print_json(json_incref(all));
	else
		print_people(all);
	patience_end(&patience);
	json_decref(all);
	mount_client_close(m);
	return status;
}

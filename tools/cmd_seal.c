/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn seal: have a mount cut files by content (client/core/seal.h), one after the other, and tell
 * what that has changed.
 */
#include "tools/command.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/mount_client.h"
#include "tools/progress_bar.h"

#define POLL_US_MIN 5000u
#define POLL_US_MAX 200000u
#define STALL_MS    60000u	/* without a byte more */

struct arguments {
	bool json, quiet, has_paths;
	struct mount_files files;
	struct mount_client *client;
	struct error err;
	int rc;
};

struct totals {
	uint64_t sealed, small, failed;
	uint64_t bytes, new_bytes, shared_bytes;
	uint64_t done_bytes;		/* of files before this one, for the bar */
	struct progress_bar bar;
	json_t *list;
};

static const struct argp_option options[] = {
	{ "recursive", 'r', NULL, 0, "all files below folders, as is the default", 0 },
	{ "quiet", 'q', NULL, 0, "say only what failed", 0 },
	{ "json", 'j', NULL, 0, "print JSON", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'r':
		return 0;
	case 'q':
		a->quiet = true;
		return 0;
	case 'j':
		a->json = true;
		return 0;
	case ARGP_KEY_ARG:
		a->has_paths = true;
		if (a->rc == 0)
			a->rc = mount_files_add(&a->files, &a->client, text, &a->err);
		return 0;
	case ARGP_KEY_END:
		if (!a->has_paths)
			argp_error(state, "wants at least one path");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool is_under_way(const json_t *reply)
{
	const char *state = mount_text(reply, "state");

	return strcmp(state, "waiting") == 0 || strcmp(state, "sealing") == 0;
}

/* Ask for it, and see it through. 0 with its last answer, or an error with its sentence. */
static int seal_one(struct arguments *a, const struct mount_file *file, struct totals *t,
		    json_t **out, struct error *err)
{
	uint64_t moved_ms = progress_bar_now_ms(), done = 0;
	useconds_t poll_us = POLL_US_MIN;
	const char *what = "seal";

	for (;;) {
		int rc = mount_client_ask_inode(a->client, what, file->ino, out, err);
		if (rc < 0)
			return rc;
		if (!is_under_way(*out))
			return 0;
		if (mount_u64(*out, "done_bytes") != done)
			moved_ms = progress_bar_now_ms();
		done = mount_u64(*out, "done_bytes");
		json_decref(*out);
		*out = NULL;
		progress_bar_show(&t->bar, t->done_bytes + done, a->files.bytes);
		if (progress_bar_now_ms() - moved_ms >= STALL_MS)
			return error_set(err, -E_TIMEDOUT, "nothing has moved for %u s",
					 STALL_MS / 1000);
		(void)usleep(poll_us);
		poll_us = MIN_OF(poll_us * 2, POLL_US_MAX);
		what = "seal-state";
	}
}

static void say_sealed(char *path, const json_t *r)
{
	char fresh[TEXT_BYTES_HUMAN], shared[TEXT_BYTES_HUMAN];

	if (mount_u64(r, "blocks_after") == 0) {
		printf("%s: cut by content already\n", text_printable(path));
		return;
	}
	printf("%s: %llu blocks, before it %llu; %llu of them new (%s), %llu of these stored "
	       "already (%s)\n",
	       text_printable(path), (unsigned long long)mount_u64(r, "blocks_after"),
	       (unsigned long long)mount_u64(r, "blocks_before"),
	       (unsigned long long)mount_u64(r, "new_blocks"),
	       text_bytes_human(fresh, mount_u64(r, "new_bytes")),
	       (unsigned long long)mount_u64(r, "shared_blocks"),
	       text_bytes_human(shared, mount_u64(r, "shared_bytes")));
}

static void file_ended(const struct arguments *a, const struct mount_file *file, json_t *reply,
		       struct totals *t)
{
	const char *state = mount_text(reply, "state");
	bool is_small = strcmp(state, "small") == 0;

	if (is_small || strcmp(state, "sealed") == 0) {
		t->sealed += !is_small;
		t->small += is_small;
		t->bytes += is_small ? 0 : file->bytes;
		t->new_bytes += mount_u64(reply, "new_bytes");
		t->shared_bytes += mount_u64(reply, "shared_bytes");
		if (!a->quiet && !a->json && !is_small)
			say_sealed(file->path, reply);
	} else {
		t->failed++;
		fprintf(stderr, "cairn seal: cannot seal '%s': %s\n", text_printable(file->path),
			mount_text(reply, "why"));
	}
	if (!a->json)
		return;
	json_object_set_new(reply, "path", json_string(text_printable(file->path)));
	json_array_append(t->list, reply);
}

static void seal_all(struct arguments *a, struct totals *t)
{
	progress_bar_begin(&t->bar);
	for (size_t i = 0; i < a->files.count; i++) {
		const struct mount_file *file = &a->files.at[i];
		struct error err = { 0 };
		json_t *reply = NULL;
		int rc = seal_one(a, file, t, &reply, &err);

		progress_bar_wipe(&t->bar);
		if (rc < 0) {
			t->failed++;
			fprintf(stderr, "cairn seal: cannot seal '%s': %s\n",
				text_printable(file->path), err.text);
		} else {
			file_ended(a, file, reply, t);
		}
		json_decref(reply);
		t->done_bytes += file->bytes;
		if (rc == -E_NOTCONN || rc == -E_TIMEDOUT) {
			t->failed += a->files.count - i - 1;
			return;		/* the others would wait as long */
		}
	}
}

static void report(const struct arguments *a, const struct totals *t)
{
	char bytes[TEXT_BYTES_HUMAN], shared[TEXT_BYTES_HUMAN];
	json_t *json;

	if (a->json) {
		json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "files",
				 (json_int_t)t->sealed, "small", (json_int_t)t->small, "failed",
				 (json_int_t)t->failed, "bytes", (json_int_t)t->bytes,
				 "new_bytes", (json_int_t)t->new_bytes, "shared_bytes",
				 (json_int_t)t->shared_bytes, "list", t->list);
		(void)json_dumpf(json, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
		printf("\n");
		json_decref(json);
	} else if (!a->quiet && t->sealed) {
		printf("%llu file%s, %s: %s of new blocks were stored already\n",
		       (unsigned long long)t->sealed, t->sealed == 1 ? "" : "s",
		       text_bytes_human(bytes, t->bytes),
		       text_bytes_human(shared, t->shared_bytes));
	}
}

int cmd_seal(int argc, char **argv)
{
	const struct argp argp = {
		.options = options, .parser = parse_option, .args_doc = "PATH...",
		.doc = "Cut files, or all files below folders, by content, so that they share "
		       "blocks with other versions of the same model.\v"
		       "Their bytes and times stay, readers notice nothing, and a file that is "
		       "being written is left as it is. Mounts do this by themselves for what is "
		       "written through them, some seconds after the last close "
		       "(client.seal_ms); this is for what was written before, or by a mount "
		       "that ended sooner." };
	struct arguments a = { 0 };
	struct totals totals = { 0 };
	int rc = argp_parse(&argp, argc, argv, 0, NULL, &a);
	int status = COMMAND_USAGE;

	if (rc == 0 && a.rc < 0) {
		status = command_fail("seal", &a.err);
	} else if (rc == 0) {
		totals.list = json_array();
		seal_all(&a, &totals);
		report(&a, &totals);
		status = totals.failed ? COMMAND_FAILED : COMMAND_DONE;
		json_decref(totals.list);
	}
	mount_files_finish(&a.files);
	mount_client_close(a.client);
	return status;
}

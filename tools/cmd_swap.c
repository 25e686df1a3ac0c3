/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn swap OLD NEW: the next model is here before the last one may go. NEW is warmed (pinned, if
 * OLD was) and waited for; only then OLD is unpinned. If NEW cannot be had, nothing changes.
 */
#include "tools/command.h"

#include <stdio.h>

#include "fs/base/text.h"
#include "tools/mount_client.h"

struct arguments { const char *path[2]; int count; };

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (a->count == 2)
			argp_error(state, "wants two paths");
		a->path[a->count++] = text;
		return 0;
	case ARGP_KEY_END:
		if (a->count != 2)
			argp_error(state, "wants two paths: the old model and the new one");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Was any of them pinned? */
static bool is_any_pinned(const struct mount_files *files, struct mount_client *m)
{
	bool is_pinned = false;

	for (size_t i = 0; i < files->count && !is_pinned; i++) {
		struct error err = { 0 };
		json_t *reply = NULL;

		if (mount_client_ask_inode(m, "state", files->at[i].ino, &reply, &err) == 0)
			is_pinned = json_is_true(json_object_get(reply, "pinned"));
		json_decref(reply);
	}
	return is_pinned;
}

static int swap(const struct arguments *a, struct mount_files files[2], struct mount_client *m)
{
	bool is_pinned = is_any_pinned(&files[0], m);
	struct mount_files_result fresh, old = { 0 };
	char size[TEXT_BYTES_HUMAN];

	mount_files_do(&files[1], m, is_pinned ? "pin" : "warm", true, &fresh);
	if (fresh.failed) {
		fprintf(stderr, "cairn swap: '%s' is not complete on this node, so '%s' stays as "
				"it was\n",
			a->path[1], a->path[0]);
		return COMMAND_FAILED;
	}
	if (is_pinned)
		mount_files_do(&files[0], m, "unpin", false, &old);
	printf("%s, %s: cached%s; %s may leave the tiers\n", a->path[1],
	       text_bytes_human(size, fresh.bytes), is_pinned ? " and pinned" : "", a->path[0]);
	return old.failed ? COMMAND_FAILED : COMMAND_DONE;
}

int cmd_swap(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse_option, .args_doc = "OLD NEW",
		.doc = "Make the model NEW (a file or a folder) ready on this node, then let OLD "
		       "leave its cache tiers. NEW is pinned if OLD was. If NEW cannot be had, "
		       "nothing changes."
	};
	struct arguments a = { .count = 0 };
	struct mount_files files[2] = { { 0 }, { 0 } };
	struct mount_client *m = NULL;
	struct error err = { 0 };
	int status = COMMAND_DONE;

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	for (unsigned i = 0; i < 2 && status == COMMAND_DONE; i++)
		if (mount_files_add(&files[i], &m, a.path[i], &err) < 0)
			status = command_fail("swap", &err);
	if (status == COMMAND_DONE)
		status = swap(&a, files, m);
	for (unsigned i = 0; i < 2; i++)
		mount_files_finish(&files[i]);
	mount_client_close(m);
	return status;
}

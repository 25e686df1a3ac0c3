/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn swap OLD NEW: the next model is here before the last one may go. NEW is warmed (pinned, if
 * OLD was) and waited for; only then OLD is unpinned, but for files that belong to both. If NEW
 * cannot be had, no pin changes.
 */
#include "tools/command.h"

#include <stdio.h>
#include <stdlib.h>

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

/* Note which of them are pinned; is any? */
static bool pins_look(struct mount_files *files, struct mount_client *m)
{
	bool is_pinned = false;

	for (size_t i = 0; i < files->count; i++) {
		struct mount_file *file = &files->at[i];
		struct error err = { 0 };
		json_t *reply = NULL;

		if (mount_client_ask_inode(m, "state", file->ino, &reply, &err) == 0)
			file->was_pinned = json_is_true(json_object_get(reply, "pinned"));
		json_decref(reply);
		is_pinned |= file->was_pinned;
	}
	return is_pinned;
}

static int by_ino(const void *a, const void *b)
{
	const struct mount_file *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Files of both models are not old. */
static void leave_out_common(struct mount_files *old, struct mount_files *fresh)
{
	size_t kept = 0;

	qsort(fresh->at, fresh->count, sizeof fresh->at[0], by_ino);
	for (size_t i = 0; i < old->count; i++) {
		struct mount_file *file = &old->at[i];

		if (bsearch(file, fresh->at, fresh->count, sizeof *file, by_ino)) {
			old->bytes -= file->bytes;
			free(file->path);
		} else {
			old->at[kept++] = *file;
		}
	}
	old->count = kept;
}

/* Nothing has changed: what was not pinned before is not now. */
static void unpin_again(struct mount_files *fresh, struct mount_client *m)
{
	for (size_t i = 0; i < fresh->count; i++) {
		struct error err = { 0 };
		json_t *reply = NULL;

		if (!fresh->at[i].was_pinned &&
		    mount_client_ask_inode(m, "unpin", fresh->at[i].ino, &reply, &err) < 0)
			fprintf(stderr, "cairn swap: cannot unpin '%s' again: %s\n",
				text_printable(fresh->at[i].path), err.text);
		json_decref(reply);
	}
}

static int swap(const struct arguments *a, struct mount_files files[2], struct mount_client *m)
{
	bool is_pinned = pins_look(&files[0], m);
	struct mount_files_result fresh, old = { 0 };
	char size[TEXT_BYTES_HUMAN], names[2][256];

	for (unsigned i = 0; i < 2; i++) {
		(void)text_copy(names[i], sizeof names[i], a->path[i]);
		(void)text_printable(names[i]);
	}
	(void)pins_look(&files[1], m);
	mount_files_do(&files[1], m, is_pinned ? "pin" : "warm", true, &fresh);
	if (fresh.failed) {
		if (is_pinned)
			unpin_again(&files[1], m);
		fprintf(stderr, "cairn swap: '%s' is not complete on this node, so '%s' stays as "
				"it was\n",
			names[1], names[0]);
		return COMMAND_FAILED;
	}
	leave_out_common(&files[0], &files[1]);
	if (is_pinned)
		mount_files_do(&files[0], m, "unpin", false, &old);
	printf("%s, %s: cached%s; %s may leave the tiers\n", names[1],
	       text_bytes_human(size, fresh.bytes), is_pinned ? " and pinned" : "", names[0]);
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
	if (status == COMMAND_DONE && (!files[0].count || !files[1].count)) {
		(void)error_say(&err, -E_NOENT, "'%s' holds no file",
				a.path[files[0].count ? 1 : 0]);
		status = command_fail("swap", &err);
	}
	if (status == COMMAND_DONE)
		status = swap(&a, files, m);
	for (unsigned i = 0; i < 2; i++)
		mount_files_finish(&files[i]);
	mount_client_close(m);
	return status;
}

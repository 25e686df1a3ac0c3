/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn warm, pin, unpin, evict: what this node keeps in its cache tiers. One shape: paths in, one
 * order for each file, a sentence out.
 */
#include "tools/command.h"

#include <stdio.h>

#include "fs/base/text.h"
#include "tools/mount_client.h"

struct order {
	const char *what;		/* "warm" */
	const char *done;		/* "is on its way" */
	const char *done_wait;		/* with --wait; NULL: it has no --wait */
	const char *doc;
};

struct arguments {
	const struct order *order;
	bool wait, json, has_paths;
	struct mount_files files;
	struct mount_client *client;
	struct error err;
	int rc;
};

/* Orders that have no --wait begin behind it. */
static const struct argp_option options[] = {
	{"wait", 'w', NULL, 0, "stay until all of it is here, with a progress bar", 0},
	{"from-list", 'f', "FILE", 0, "take paths from FILE, one a line; - is standard input", 0},
	{"json", 'j', NULL, 0, "print JSON", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'w':
		a->wait = true;
		return 0;
	case 'j':
		a->json = true;
		return 0;
	case 'f':
		a->has_paths = true;
		if (a->rc == 0)
			a->rc = mount_files_add_list(&a->files, &a->client, text, &a->err);
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

static void report(const struct arguments *a, const struct mount_files_result *r)
{
	const struct order *order = a->order;
	char size[TEXT_BYTES_HUMAN];

	if (a->json) {
		printf("{\"files\": %llu, \"bytes\": %llu, \"failed\": %llu, \"small\": %llu}\n",
		       (unsigned long long)r->done, (unsigned long long)r->bytes,
		       (unsigned long long)r->failed, (unsigned long long)r->small);
		return;
	}
	if (r->failed && !r->done)
		return;			/* stderr has said it all */
	printf("%llu file%s, %s: %s", (unsigned long long)r->done, r->done == 1 ? "" : "s",
	       text_bytes_human(size, r->bytes), a->wait ? order->done_wait : order->done);
	if (r->small)
		printf(" (%llu of them too small for a tier)", (unsigned long long)r->small);
	printf("\n");
}

static int run(const struct order *order, int argc, char **argv)
{
	const struct argp argp = { .options = order->done_wait ? options : &options[1],
				   .parser = parse_option, .args_doc = "PATH...",
				   .doc = order->doc };
	struct arguments a = { .order = order };
	struct mount_files_result result = { 0 };
	/* Options may stand behind paths: nothing else is run here. */
	int rc = argp_parse(&argp, argc, argv, 0, NULL, &a);
	int status = COMMAND_USAGE;

	if (rc == 0 && a.rc < 0) {
		status = command_fail(order->what, &a.err);
	} else if (rc == 0) {
		if (a.client)
			mount_files_do(&a.files, a.client, order->what, a.wait, &result);
		report(&a, &result);
		status = result.failed ? COMMAND_FAILED : COMMAND_DONE;
	}
	mount_files_finish(&a.files);
	mount_client_close(a.client);
	return status;
}

int cmd_warm(int argc, char **argv)
{
	static const struct order order = {
		"warm", "on the way into this node's tiers; cairn cache shows how far", "cached",
		"Bring files, or all files below folders, into the cache tiers of this node.\v"
		"They may leave again when the tiers are full; cairn pin keeps them.",
	};
	return run(&order, argc, argv);
}

int cmd_pin(int argc, char **argv)
{
	static const struct order order = {
		"pin", "pinned, and on the way if not cached yet", "pinned and cached",
		"Keep files in the cache tiers of this node, whatever else is read, in every later "
		"version and over restarts, until cairn unpin.",
	};
	return run(&order, argc, argv);
}

int cmd_unpin(int argc, char **argv)
{
	static const struct order order = {
		"unpin", "no longer pinned", NULL,
		"Let files leave the cache tiers of this node again when they are full.",
	};
	return run(&order, argc, argv);
}

int cmd_evict(int argc, char **argv)
{
	static const struct order order = {
		"evict", "no longer cached on this node", NULL,
		"Take files out of the cache tiers of this node. Files that are open or pinned "
		"stay; the cluster keeps everything.",
	};
	return run(&order, argc, argv);
}

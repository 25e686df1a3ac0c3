/* SPDX-License-Identifier: Apache-2.0 */
/* The table of subcommands, and what they share. */
#include "fs/base/text.h"
#include "tools/command.h"

#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
	{ "up", cmd_up, "start and mount a whole file system on this host" },
	{ "down", cmd_down, "unmount and stop it; data stays" },
	{ "status", cmd_status, "health at a glance" },
	{ "df", cmd_df, "what is stored, and what dedup and codecs save" },
	{ "servers", cmd_servers, "the chunk servers and their state" },
	{ "heal", cmd_heal, "what is being healed, and what is waited for" },
	{ "locks", cmd_locks, "who has locks, and who waits for them" },
	{ "drain", cmd_drain, "move the share of a chunk server to the others" },
	{ "remove", cmd_remove, "forget a chunk server whose data is not needed" },
	{ "scrub", cmd_scrub, "re-reading of what is stored: how far, begin, pause" },
	{ "reencode", cmd_reencode, "smaller encodings of cold blocks: how far, begin, pause" },
	{ "gc", cmd_gc, "garbage collection: what it does, run it now, count only" },
	{ "metrics", cmd_metrics, "the counters of every server" },
	{ "stat", cmd_stat, "what a file is made of, and which servers hold it" },
	{ "trash", cmd_trash, "what was deleted below a folder: keep, list, restore, empty" },
	{ "clone", cmd_clone, "copy a file or a whole tree by reference" },
	{ "seal", cmd_seal, "cut files by content, so that versions share blocks" },
	{ "warm", cmd_warm, "bring models into this node's cache tiers" },
	{ "pin", cmd_pin, "keep them there; in every later version, over restarts" },
	{ "unpin", cmd_unpin, "let them leave again" },
	{ "evict", cmd_evict, "take them out now" },
	{ "swap", cmd_swap, "warm the next model, then let the last one go" },
	{ "cache", cmd_cache, "what this node has cached, where, and how often it was used" },
	{ "quota", cmd_quota, "limits of directory trees, and what is used of them" },
	{ "analyze", cmd_analyze, "what files would cost, without a cluster" },
	{ "dump", cmd_dump, "the structures on a disk, as text" },
	{ "dev", cmd_dev, "an ephemeral cluster around one command" },
};

static void print_help(FILE *out)
{
	fputs("usage: cairn COMMAND [ARGUMENTS...]\n\n", out);
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\n`cairn COMMAND --help` explains one. The cluster is found by --mds, else by\n"
	      "CAIRN_DIR (inside `cairn dev`), else by [cluster] mds of /etc/cairn/cairn.conf,\n"
	      "else it is the one of `cairn up`. See cairn(1) and cairn(7).\n", out);
}

int command_run(int argc, char **argv)
{
	char title[64];

	argp_err_exit_status = COMMAND_USAGE;
	if (argc < 2) {
		print_help(stderr);
		return COMMAND_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0 ||
	    strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return COMMAND_DONE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("cairn " CAIRN_VERSION);
		return COMMAND_DONE;
	}
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
		if (strcmp(commands[i].name, argv[1]) != 0)
			continue;
		snprintf(title, sizeof title, "cairn %s", argv[1]);
		argv[1] = title;
		return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "cairn: unknown command '%s'; see cairn --help\n", argv[1]);
	return COMMAND_USAGE;
}

static const struct argp_option target_options[] = {
	{ "json", 'j', NULL, 0, "print JSON with stable keys", 0 },
	{ "mds", 'm', "HOST:PORT", 0, "the metadata server", 0 },
	{ 0 },
};

static error_t target_option(int key, char *text, struct argp_state *state)
{
	struct command_target *target = state->input;

	switch (key) {
	case 'j': target->json = true; return 0;
	case 'm': target->mds = text; return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp target_argp = { .options = target_options, .parser = target_option };
const struct argp_child command_target_options[] = { { .argp = &target_argp }, { 0 } };

int command_parse(const struct argp *argp, int argc, char **argv, void *input)
{
	/*
	 * In order: what stands behind a COMMAND is the COMMAND's. argp takes its name from
	 * argv[0].
	 */
	return argp_parse(argp, argc, argv, ARGP_IN_ORDER, NULL, input);
}

void command_add_path(const struct argp_state *state, char *path, char ***paths, int *count)
{
	*paths = state->argv + 1;
	ASSERT(*count + 1 < state->next);
	(*paths)[(*count)++] = path;
}

void command_choose(const struct argp_state *state, int *chosen, int key)
{
	if (*chosen && *chosen != key)
		argp_error(state, "that is two things at once: choose one");
	*chosen = key;
}

int command_fail(const char *name, const struct error *err)
{
	struct error shown = *err;

	fprintf(stderr, "cairn %s: %s\n", name, text_printable(shown.text));
	switch (-err->code) {
	case E_NOTCONN:
	case E_TIMEDOUT:
	case E_CONNREFUSED:
		return COMMAND_UNREACHABLE;
	default:
		return COMMAND_FAILED;
	}
}

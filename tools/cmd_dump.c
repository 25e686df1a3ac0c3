/* SPDX-License-Identifier: Apache-2.0 */
/* cairn dump FILE|DIR...: the structures on disk, as text. Exit status: 0 all is readable, 1 not, 2
 * usage. */
#include "tools/command.h"

#include <stdio.h>

#include "tools/dump.h"

struct arguments {
	struct dump_options options;
	char **paths;
	int path_count;
};

static const struct argp_option argp_options[] = {
	{"deep", 'd', NULL, 0, "show the row changes of journal records and every row of snapshots",
	 0},
	{"json", 'j', NULL, 0, "print one JSON object a line", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'd':
		a->options.deep = true;
		break;
	case 'j':
		a->options.json = true;
		break;
	case ARGP_KEY_ARG:
		command_add_path(state, text, &a->paths, &a->path_count);
		break;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "wants a file or folder");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	argp_options,
	parse_option,
	"FILE|DIR...",
	"Show superblocks, segments, journal files, snapshots, manifest nodes and block records as "
	"text."
	"\vNothing is changed, and no server is asked. The formats are in cairn-format(5).",
	NULL,
	NULL,
	NULL};

int cmd_dump(int argc, char **argv)
{
	struct arguments a = {.options.out = stdout};
	int status = COMMAND_DONE;

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	for (int i = 0; i < a.path_count; i++) {
		struct error err = {0};

		if (dump_path(a.paths[i], &a.options, &err) < 0) {
			fflush(stdout);
			status = command_fail("dump", &err);
		}
	}
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings on the command line, as an argp child of every program: --config FILE, --set
 * SECTION.KEY=VALUE, --dump-config, and --section-key for each row of options.def.
 *
 *   static struct argp_child children[] = {{.argp = NULL}, {0}};
 *   children[0].argp = config_argp("mds log");
 *   case ARGP_KEY_INIT: state->child_inputs[0] = &args->config;
 *
 * When argp_parse() returns 0, `config` holds defaults, then the file, then the command line, all
 * checked. What is wrong ends the program with a sentence and argp_err_exit_status (set it to 2).
 * Threads: one, at start-up.
 */
#ifndef CAIRN_FS_BASE_CONFIG_ARGP_H
#define CAIRN_FS_BASE_CONFIG_ARGP_H

#include <argp.h>

#include "fs/base/config.h"

#define CONFIG_ARGS_MAX 128u	/* settings on one command line */

struct config_argp {
	struct config config;		/* the result */
	const char *file;		/* --config, or NULL: CONFIG_FILE if there is one */
	bool dump;			/* --dump-config: print and end */
	/* private: kept until the file has been read */
	struct config_argp_set {
		const struct config_row *row;	/* NULL: --set */
		const char *value;
	} sets[CONFIG_ARGS_MAX];
	unsigned set_count;
};

/*
 * The parser; `sections` (separated by spaces) are those that --help shows, though all are
 * accepted. NULL: out of memory. Made once per process; lives as long.
 */
const struct argp *config_argp(const char *sections);

#endif

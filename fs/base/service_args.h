/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line that both daemons share: settings (config_argp.h), --pid-file, --port-file.
 * Threads: one, at start-up.
 */
#ifndef CAIRN_FS_BASE_SERVICE_ARGS_H
#define CAIRN_FS_BASE_SERVICE_ARGS_H

#include "fs/base/config_argp.h"

struct service_args {
	const char *program;		/* "cairn-mds": for the log and messages */
	const char *doc;		/* of --help */
	const char *sections;		/* of settings that --help shows */
	/* results */
	struct config_argp config;
	const char *pid_file;		/* NULL: none */
	const char *port_file;
};

/*
 * Parse, and start the log unless --dump-config was asked for (args->config.dump). 0; -E_NOMEM;
 * -E_INVAL is usage, though what a user got wrong ends the program already, with a sentence and
 * status 2. Once per process.
 */
must_check int service_args_parse(struct service_args *args, int argc, char **argv);

#endif

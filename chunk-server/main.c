/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn-cs: the command line. Everything else is in program.c.
 * Exit status: 0 ended in order, 1 could not serve, 2 usage.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fs/base/config_argp.h"
#include "fs/base/log.h"
#include "chunk-server/program.h"

enum { KEY_PID_FILE = 256, KEY_PORT_FILE };

const char *argp_program_version = "cairn-cs " CAIRN_VERSION;

struct args {
	struct config_argp config;
	const char *pid_file;
	const char *port_file;
};

static const struct argp_option options[] = {
	{"pid-file", KEY_PID_FILE, "FILE", 0, "write the process id to FILE while serving", 0},
	{"port-file", KEY_PORT_FILE, "FILE", 0,
	 "write the address that is listened on to FILE while serving", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &args->config;
		return 0;
	case KEY_PID_FILE:
		args->pid_file = arg;
		return 0;
	case KEY_PORT_FILE:
		args->port_file = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void start_log(const struct config *config)
{
	enum log_level level;

	if (log_level_parse(config->log_level, &level) < 0)
		level = LOG_LEVEL_INFO; /* the table allows nothing else */
	log_init("cairn-cs", level);
}

int main(int argc, char **argv)
{
	static struct args args;
	static struct argp_child children[] = {{0}, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.children = children,
		.doc = "A chunk server of a cairn file system: it stores blocks on its disks and "
		       "replicates them.",
	};
	struct error err = {0};

	argp_err_exit_status = 2;
	children[0].argp = config_argp("cs cluster log");
	if (!children[0].argp) {
		fprintf(stderr, "cairn-cs: %s\n", error_text(E_NOMEM));
		return 1;
	}
	if (argp_parse(&argp, argc, argv, 0, NULL, &args) != 0)
		return 2;
	if (args.config.dump)
		return 0;
	start_log(&args.config.config);
	if (cs_program_run(&(struct cs_program_options){.config = &args.config.config,
							.pid_file = args.pid_file,
							.port_file = args.port_file},
			   &err) < 0) {
		fprintf(stderr, "cairn-cs: %s\n", err.text);
		return 1;
	}
	return 0;
}

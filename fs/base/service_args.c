/* SPDX-License-Identifier: Apache-2.0 */
/* One argp parser over the settings' own. */
#include "fs/base/service_args.h"

#include "fs/base/log.h"

enum { KEY_PID_FILE = 256, KEY_PORT_FILE };

static const struct argp_option options[] = {
	{ "pid-file", KEY_PID_FILE, "FILE", 0, "write the process id to FILE while serving", 0 },
	{ "port-file", KEY_PORT_FILE, "FILE", 0,
	  "write the address that is listened on to FILE while serving", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct service_args *args = state->input;

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

static void start_log(const struct service_args *args)
{
	enum log_level level;

	if (log_level_parse(args->config.config.log_level, &level) < 0)
		level = LOG_LEVEL_INFO;		/* the table allows nothing else */
	log_init(args->program, level);
}

int service_args_parse(struct service_args *args, int argc, char **argv)
{
	static struct argp_child children[] = { { 0 }, { 0 } };
	struct argp argp = { .options = options, .parser = parse, .children = children,
			     .doc = args->doc };

	argp_err_exit_status = 2;
	children[0].argp = config_argp(args->sections);
	if (!children[0].argp)
		return -E_NOMEM;
	if (argp_parse(&argp, argc, argv, 0, NULL, args) != 0)
		return -E_INVAL;
	if (!args->config.dump)
		start_log(args);
	return 0;
}

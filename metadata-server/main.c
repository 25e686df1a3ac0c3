/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn-mds: the command line. Everything else is in program.c.
 * Exit status: 0 ended in order, 1 could not serve, 2 usage.
 */
#include <stdio.h>

#include "metadata-server/program.h"
#include "fs/base/service_args.h"

const char *argp_program_version = "cairn-mds " CAIRN_VERSION;

int main(int argc, char **argv)
{
	static struct service_args args = {
		.program = "cairn-mds",
		.doc = "The metadata server of a cairn file system: names, attributes, the replica "
		       "map.",
		.sections = "mds journal lease server log",
	};
	struct error err = { 0 };
	int rc = service_args_parse(&args, argc, argv);

	if (rc < 0) {
		fprintf(stderr, "cairn-mds: %s\n", error_text(rc));
		return rc == -E_INVAL ? 2 : 1;
	}
	if (args.config.dump)
		return 0;
	if (ms_program_run(&(struct ms_program_options){ .config = &args.config.config,
							 .pid_file = args.pid_file,
							 .port_file = args.port_file }, &err) < 0) {
		fprintf(stderr, "cairn-mds: %s\n", err.text);
		return 1;
	}
	return 0;
}

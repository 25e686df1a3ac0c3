/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn-cs: the command line. Everything else is in program.c.
 * Exit status: 0 ended in order, 1 could not serve, 2 usage.
 */
#include <stdio.h>

#include "chunk-server/program.h"
#include "fs/base/service_args.h"

const char *argp_program_version = "cairn-cs " CAIRN_VERSION;

int main(int argc, char **argv)
{
	static struct service_args args = {
		.program = "cairn-cs",
		.doc = "A chunk server of a cairn file system: it stores blocks on its disks and "
		       "replicates them.",
		.sections = "cs cluster log",
	};
	struct error err = { 0 };
	int rc = service_args_parse(&args, argc, argv);

	if (rc < 0) {
		fprintf(stderr, "cairn-cs: %s\n", error_text(rc));
		return rc == -E_INVAL ? 2 : 1;
	}
	if (args.config.dump)
		return 0;
	if (cs_program_run(&(struct cs_program_options){ .config = &args.config.config,
							 .pid_file = args.pid_file,
							 .port_file = args.port_file }, &err) < 0) {
		fprintf(stderr, "cairn-cs: %s\n", err.text);
		return 1;
	}
	return 0;
}

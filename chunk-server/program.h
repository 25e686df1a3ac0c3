/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn-cs as a program: from settings to a serving chunk server and back down, in one call.
 */
#ifndef CAIRN_CHUNK_SERVER_PROGRAM_H
#define CAIRN_CHUNK_SERVER_PROGRAM_H

#include "fs/base/config.h"

struct cs_program_options {
	const struct config *config;
	const char *pid_file;  /* NULL: none */
	const char *port_file; /* gets the address that is listened on; NULL: none */
};

/* Serve until SIGTERM or SIGINT. 0: ended in order; or what went wrong, with a sentence. */
must_check int cs_program_run(const struct cs_program_options *options, struct error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of mount.cairn, as mount(8) calls it and as a person types it:
 *
 *     mount.cairn HOST[:PORT]:/ DIRECTORY [-sfnvrw] [-t TYPE] [-o OPTION,...] [--foreground] [--pid-file FILE]
 *
 * One table of -o options gives parsing, range checks, --help and the manual (mount.cairn(8)). What is not
 * in the table but known to the kernel or mount(8) is passed on; the rest is an error that names it.
 */
#ifndef CAIRN_CLIENT_FUSE_MOUNT_OPTIONS_H
#define CAIRN_CLIENT_FUSE_MOUNT_OPTIONS_H

#include <limits.h>

#include "fs/base/base.h"

#define MOUNT_PORT_DEFAULT 7800
#define MOUNT_TEXT_BYTES   1024

struct mount_options {
	char source[MOUNT_TEXT_BYTES];		/* as given: "HOST:/" */
	char mds_address[MOUNT_TEXT_BYTES];	/* "HOST:PORT" */
	char mountpoint[PATH_MAX];		/* absolute */
	char kernel_options[MOUNT_TEXT_BYTES];	/* comma separated, for libfuse and the kernel */
	char cache_dir[PATH_MAX];		/* of this mount: the session number is kept there */
	char log_file[PATH_MAX];		/* of a mount in the background */
	char pid_file[PATH_MAX];		/* "": none */
	char codec[16];
	bool is_foreground, is_fake, is_verbose, is_remount, is_hard, is_help;
	uint64_t timeo_s;
	uint64_t memory_bytes;
	uint64_t read_ahead_kb;
	uint64_t flush_ms;
	uint64_t blocks_in_flight;
	uint64_t threads;
};

/* 0 or -E_INVAL with a sentence. is_help: nothing else was parsed. */
must_check int mount_options_parse(int argc, char **argv, struct mount_options *out, struct error *err);
void mount_options_help(void);		/* on stdout, within 80 columns */
/* "HOST:/", "HOST:PORT:/", "[V6]:PORT:/" to "HOST:PORT"; -E_INVAL. */
must_check int mount_options_address(const char *source, char *out, size_t out_bytes);

#endif

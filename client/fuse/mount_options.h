/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of mount.cairn, as mount(8) calls it and as a person types it:
 *
 *     mount.cairn HOST[:PORT]:/ DIRECTORY [-sfnvrw] [-t TYPE] [-o OPTION,...] [--foreground]
 *     [--pid-file FILE]
 *                 [--config FILE]
 *
 * Settings are those of [client] (fs/base/options.def): defaults, then the configuration file, then
 * -o, where most have a shorter name. What is not ours but known to the kernel or mount(8) is
 * passed on or ignored; the rest is an error that names it.
 */
#ifndef CAIRN_CLIENT_FUSE_MOUNT_OPTIONS_H
#define CAIRN_CLIENT_FUSE_MOUNT_OPTIONS_H

#include <limits.h>

#include "fs/base/config.h"

#define MOUNT_PORT_DEFAULT 7800
#define MOUNT_TEXT_BYTES   1024

struct mount_options {
	char source[MOUNT_TEXT_BYTES];		/* as given: "HOST:/" */
	char mds_address[MOUNT_TEXT_BYTES];	/* "HOST:PORT" */
	char mountpoint[PATH_MAX];		/* absolute */
	char kernel_options[MOUNT_TEXT_BYTES];	/* comma separated, for libfuse and the kernel */
	char log_file[PATH_MAX];		/* of a mount in the background */
	char pid_file[PATH_MAX];		/* "": none */
	bool is_foreground, is_fake, is_verbose, is_remount, is_hard, is_help, is_version;
	bool has_tier;				/* by -o, however often */
	bool has_settings;			/* by -o: what a remount cannot change */
	/* its client_cache_dir is never empty: the session is kept there */
	struct config config;
};

/*
 * 0, or -E_INVAL, -E_RANGE, -E_NOENT with a sentence. is_help, is_version: nothing else was parsed.
 */
must_check int mount_options_parse(int argc, char **argv, struct mount_options *out,
				   struct error *err);
void mount_options_help(void);		/* on stdout, within 80 columns */
/* "HOST:/", "HOST:PORT:/", "[V6]:PORT:/" to "HOST:PORT"; -E_INVAL. */
must_check int mount_options_address(const char *source, char *out, size_t out_bytes);

#endif

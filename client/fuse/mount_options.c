/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount(8)'s conventions: a helper gets SOURCE DIRECTORY first, and options of everybody in one -o.
 */
#include "client/fuse/mount_options.h"
#include "client/fuse/dead_mount.h"
#include "client/tier/tier_options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/text.h"

/* Short names of settings, as mount(8) users know them. */
static const struct row {
	const char *name;
	const char *setting;		/* of the configuration */
	const char *suffix;		/* unit that the short name implies */
	const char *argument, *help;
} rows[] = {
	{ "timeo", "client.timeout_ms", "s", "SECONDS", "deadline of an operation (60)" },
	{ "cache", "client.cache_dir", "", "DIR", "this mount's cache folder" },
	{ "memory", "client.memory_bytes", "", "BYTES", "data in flight (256M)" },
	{ "read_ahead", "client.read_ahead_kb", "", "KIB", "kernel read-ahead (1024)" },
	{ "flush", "client.flush_ms", "", "MS", "publish gathered writes after (1000)" },
	{ "seal", "client.seal_ms", "", "MS", "cut by content after a close (5000)" },
	{ "inflight", "client.blocks_in_flight", "", "BLOCKS", "of one stream (64)" },
	{ "tier", "client.tier", "", "DIR:BYTES", "cache tier for whole models (auto)" },
	{ "tier_policy", "client.tier_policy", "", "NAME", "adaptive, lru or lfu (adaptive)" },
	{ "predict", "client.predict", "", "yes|no", "fetch the likely next model (yes)" },
	{ "passthrough", "client.passthrough", "", "yes|no", "kernel reads tier files (yes)" },
	{ "locks", "client.locks", "", "cluster|node", "where locks hold (cluster)" },
	{ "transport", "cluster.transport", "", "NAME", "auto, or tcp also on one host" },
	{ "workers", "client.workers", "", "COUNT", "threads for digests and disk (4)" },
	{ "codec", "client.codec", "", "NAME", "of written blocks (auto)" },
};

/* For the kernel or libfuse, passed on as they are. */
static const char *const kernel_names[] = {
	"ro",	   "rw",	 "suid",     "nosuid",	    "dev",	   "nodev",
	"exec",	   "noexec",	 "async",    "sync",	    "dirsync",	   "atime",
	"noatime", "nodiratime", "relatime", "strictatime", "allow_other", "default_permissions",
};

/* What mount(8) finds in the table of mounts, and gives back for a remount. */
static const char *const kernel_values[] = { "user_id", "group_id", "max_read", "blksize" };

/* For mount(8) and fstab; nothing to do here. */
static const char *const ignored_names[] = {
	"defaults", "auto",  "noauto",	"user",	  "nouser",   "users",
	"owner",    "group", "_netdev", "nofail", "diratime",
};

static bool is_among(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static int set_row(const struct row *row, struct mount_options *o, const char *value,
		   struct error *err)
{
	char text[CONFIG_TEXT_BYTES + 8];

	if (!value)
		return error_say(err, -E_INVAL, "option '%s' needs a value", row->name);
	o->has_settings = true;
	snprintf(text, sizeof text, "%s%s", value, row->suffix);
	if (config_set(&o->config, row->setting, text, err) < 0)
		return error_wrap(err, "option '%s=%s'", row->name, value);
	return 0;
}

/* Tiers of the command line add up, and stand for those of the file. */
static int add_tier(struct mount_options *o, const char *value, struct error *err)
{
	struct config_paths *list = &o->config.client_tier;

	if (!o->has_tier)
		list->count = 0;
	o->has_tier = o->has_settings = true;
	if (!value || !*value)
		return error_say(err, -E_INVAL, "option 'tier' needs a value");
	if (list->count == ARRAY_COUNT(list->path) ||
	    !text_copy(list->path[list->count], sizeof list->path[0], value))
		return error_say(err, -E_RANGE, "option 'tier=%.200s': too long, or one too many",
				 value);
	list->count++;
	return 0;
}

/* Words without a value that are ours; false: not one of them. */
static bool set_word(struct mount_options *o, const char *word)
{
	if (strcmp(word, "hard") == 0 || strcmp(word, "soft") == 0) {
		o->is_hard = word[0] == 'h';
		o->has_settings = true;
	} else if (strcmp(word, "remount") == 0) {
		o->is_remount = true;
	} else {
		return false;
	}
	return true;
}

static int pass_on(struct mount_options *o, const char *name, struct error *err)
{
	size_t len = strlen(o->kernel_options);
	int n;

	if (strcmp(name, "allow_other") == 0 || strcmp(name, "default_permissions") == 0)
		return 0;	/* always on */
	n = snprintf(o->kernel_options + len, sizeof o->kernel_options - len, "%s%s",
		     len ? "," : "", name);
	if (n < 0 || (size_t)n >= sizeof o->kernel_options - len)
		return error_say(err, -E_INVAL, "too many mount options");
	return 0;
}

static int set_option(struct mount_options *o, char *option, struct error *err)
{
	char *value = strchr(option, '=');

	if (value)
		*value++ = '\0';
	if (strcmp(option, "tier") == 0)
		return add_tier(o, value, err);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		if (strcmp(rows[i].name, option) == 0)
			return set_row(&rows[i], o, value, err);
	if (value && is_among(option, kernel_values, ARRAY_COUNT(kernel_values)))
		return 0;
	if (value && strcmp(option, "log") == 0)
		return text_copy(o->log_file, sizeof o->log_file, value) ? 0 :
		       error_say(err, -E_INVAL, "option 'log': value is too long");
	if (!value && set_word(o, option))
		return 0;
	if (!value && is_among(option, kernel_names, ARRAY_COUNT(kernel_names)))
		return pass_on(o, option, err);
	if ((!value && is_among(option, ignored_names, ARRAY_COUNT(ignored_names))) ||
	    strncmp(option, "x-", 2) == 0 || strcmp(option, "comment") == 0)
		return 0;
	return error_say(err, -E_INVAL, "unknown mount option '%s'; see mount.cairn --help",
			 option);
}

static int set_options(struct mount_options *o, const char *list, struct error *err)
{
	char *copy = strdup(list), *rest = copy, *option;
	int rc = copy ? 0 : -E_NOMEM;

	while (rc == 0 && (option = strsep(&rest, ",")))
		if (*option)
			rc = set_option(o, option, err);
	free(copy);
	return rc;
}

int mount_options_address(const char *source, char *out, size_t out_bytes)
{
	const char *path = strstr(source, ":/");
	const char *bracket = source[0] == '[' ? strchr(source, ']') : NULL;
	const char *colon;
	size_t host_len;
	int n;

	if (!path || path[2] != '\0' || path == source)
		return -E_INVAL;
	host_len = (size_t)(path - source);
	colon = memchr(bracket ? bracket : source, ':',
		       host_len - (size_t)((bracket ? bracket : source) - source));
	if (colon)
		n = snprintf(out, out_bytes, "%.*s", (int)host_len, source);
	else
		n = snprintf(out, out_bytes, "%.*s:%d", (int)host_len, source, MOUNT_PORT_DEFAULT);
	return n > 0 && (size_t)n < out_bytes ? 0 : -E_INVAL;
}

/* /var/cache/cairn/MOUNTPOINT with '/' as '-': two mounts of a node keep apart. */
static void default_cache_dir(struct mount_options *o)
{
	char *dir = o->config.client_cache_dir;
	size_t at;

	if (dir[0])
		return;
	at = (size_t)snprintf(dir, CONFIG_TEXT_BYTES, "/var/cache/cairn/");
	for (const char *s = o->mountpoint + 1; *s && at + 1 < CONFIG_TEXT_BYTES; s++)
		dir[at++] = *s == '/' ? '-' : *s;
	dir[at] = '\0';
}

/* A mount that is there already is not asked: it may be dead, or cut off. */
static bool is_directory(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno != ENOTDIR;
	close(fd);
	return true;
}

static int set_operands(struct mount_options *o, int count, char **operands, struct error *err)
{
	struct tier_option tiers[TIER_PLACES_MAX];	/* looked at again by tier_setup_create() */

	if (count != 2)
		return error_say(err, -E_INVAL,
				 "needs SOURCE and DIRECTORY: mount.cairn HOST:/ /models");
	if (!text_copy(o->source, sizeof o->source, operands[0]) ||
	    mount_options_address(o->source, o->mds_address, sizeof o->mds_address) < 0)
		return error_say(err, -E_INVAL, "bad source '%s': wants HOST:/ or HOST:PORT:/",
				 operands[0]);
	int rc = dead_mount_realpath(operands[1], o->mountpoint);

	if (rc < 0)
		return error_say(err, -E_NOENT, "cannot mount on '%s': %s", operands[1],
				 strerror(error_to_errno(rc)));
	if (!is_directory(o->mountpoint))
		return error_say(err, -E_NOENT, "cannot mount on '%s': it is not a directory",
				 operands[1]);
	default_cache_dir(o);
	return tier_options_parse(&o->config.client_tier, tiers, err) < 0 ? -E_INVAL : 0;
}

enum { OPT_FOREGROUND = 256, OPT_PID_FILE, OPT_CONFIG };

static const char short_options[] = "sfnvrwt:o:hN:V";
static const struct option long_options[] = {
	{ "foreground", no_argument, NULL, OPT_FOREGROUND },
	{ "pid-file", required_argument, NULL, OPT_PID_FILE },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "options", required_argument, NULL, 'o' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static int take_option(struct mount_options *o, int c, struct error *err)
{
	switch (c) {
	case 'f': o->is_fake = true; break;
	case 'v': o->is_verbose = true; break;
	case 'h': o->is_help = true; break;
	case 'V': o->is_version = true; break;
	case 'r': return pass_on(o, "ro", err);
	case 'w': return pass_on(o, "rw", err);
	case 'o': return set_options(o, optarg, err);
	case OPT_FOREGROUND: o->is_foreground = true; break;
	case OPT_PID_FILE:
		if (!text_copy(o->pid_file, sizeof o->pid_file, optarg))
			return error_say(err, -E_INVAL, "pid file name is too long");
		break;
	/* -s -n -t TYPE -N NAMESPACE: mount(8) passes them; nothing to do */
	default: break;
	}
	return 0;
}

/* The file is weaker than the command line, so it is looked for first. */
static int read_config(struct mount_options *o, int argc, char **argv, struct error *err)
{
	const char *path = NULL;
	int c, rc;

	config_init(&o->config);
	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
		if (c == '?' || c == ':')
			return error_say(err, -E_INVAL,
					 "unknown option '%s'; see mount.cairn --help",
					 argv[optind - 1]);
		if (c == OPT_CONFIG)
			path = optarg;
	}
	rc = config_read_file(&o->config, path ? path : CONFIG_FILE, err);
	return rc == -E_NOENT && !path ? 0 : rc;
}

int mount_options_parse(int argc, char **argv, struct mount_options *o, struct error *err)
{
	int c, rc;

	memset(o, 0, sizeof *o);
	(void)text_copy(o->log_file, sizeof o->log_file, "/var/log/cairn/mount.log");
	rc = read_config(o, argc, argv, err);
	optind = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
		rc = take_option(o, c, err);
	if (rc < 0 || o->is_help || o->is_version)
		return rc;
	return set_operands(o, argc - optind, argv + optind, err);
}

void mount_options_help(void)
{
	puts("usage: mount.cairn HOST[:PORT]:/ DIRECTORY [-o OPTION,...]\n"
	     "Mount a cairn file system; `mount -t cairn` and fstab call this.\n\n"
	     "  --foreground      stay in the foreground, log to stderr\n"
	     "  --pid-file FILE   write the process id there once mounted\n"
	     "  --config FILE     settings (" CONFIG_FILE ")\n"
	     "  -f                fake: check the arguments only\n"
	     "  -v                verbose\n"
	     "  -r, -w            the same as -o ro, -o rw\n"
	     "  -V, --version     print the version\n\n"
	     "-o OPTION,...       those of mount(8), and:");
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char name[64];

		snprintf(name, sizeof name, "%s=%s", rows[i].name, rows[i].argument);
		printf("  %-20s %s\n", name, rows[i].help);
	}
	puts("  soft, hard           give up after timeo (default), or wait interruptibly\n"
	     "  log=FILE             log of a mount in the background\n"
	     "  remount              change ro, rw, noatime ... of a mount");
	puts("\nunmount with umount(8). Exit status is mount(8)'s: 0 done, 1 usage, 2 system,\n"
	     "32 mount failed. See mount.cairn(8).");
}

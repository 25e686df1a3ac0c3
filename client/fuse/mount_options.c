/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount(8)'s conventions: a helper gets SOURCE DIRECTORY first, and options of everybody in one -o.
 */
#include "client/fuse/mount_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"

enum kind { NUMBER, BYTES, TEXT, FLAG_ON, FLAG_OFF };

struct row {
	const char *name;
	enum kind kind;
	size_t field;
	size_t field_bytes;		/* of TEXT */
	uint64_t min, max;
	const char *argument, *help;
};

#define FIELD(f) offsetof(struct mount_options, f)
#define TEXT_FIELD(f) FIELD(f), sizeof(((struct mount_options *)0)->f)

static const struct row rows[] = {
	{ "soft", FLAG_OFF, FIELD(is_hard), 0, 0, 0, "", "give up after timeo (default)" },
	{ "hard", FLAG_ON, FIELD(is_hard), 0, 0, 0, "", "wait for ever, interruptible" },
	{ "timeo", NUMBER, FIELD(timeo_s), 0, 1, 86400, "SECONDS", "deadline of an operation (60)" },
	{ "cache", TEXT, TEXT_FIELD(cache_dir), 0, 0, "DIR", "this mount's cache folder" },
	{ "memory", BYTES, FIELD(memory_bytes), 0, MiB(16), GiB(1024), "BYTES", "data in flight (256M)" },
	{ "read_ahead", NUMBER, FIELD(read_ahead_kb), 0, 0, 65536, "KIB", "kernel read-ahead (4096)" },
	{ "flush", NUMBER, FIELD(flush_ms), 0, 10, 60000, "MS", "publish gathered writes after (1000)" },
	{ "inflight", NUMBER, FIELD(blocks_in_flight), 0, 1, 1024, "BLOCKS", "of one stream (64)" },
	{ "threads", NUMBER, FIELD(threads), 0, 1, 64, "COUNT", "that read kernel requests (4)" },
	{ "codec", TEXT, TEXT_FIELD(codec), 0, 0, "NAME", "of written blocks: raw, lz4, zstd (lz4)" },
	{ "log", TEXT, TEXT_FIELD(log_file), 0, 0, "FILE", "log of a mount in the background" },
	{ "remount", FLAG_ON, FIELD(is_remount), 0, 0, 0, "", "change ro, rw, noatime ... of a mount" },
};

/* For the kernel or libfuse, passed on as they are. */
static const char *const kernel_names[] = {
	"ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "async", "sync", "dirsync", "atime",
	"noatime", "nodiratime", "relatime", "strictatime", "allow_other", "default_permissions",
};

/* For mount(8) and fstab; nothing to do here. */
static const char *const ignored_names[] = {
	"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "_netdev", "nofail", "diratime",
};

static bool is_among(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static int set_number(const struct row *row, struct mount_options *o, const char *value, struct error *err)
{
	uint64_t number = 0;
	int rc = row->kind == BYTES ? text_parse_bytes(value, &number) : text_parse_u64(value, &number);

	if (rc < 0 || number < row->min || number > row->max)
		return error_say(err, -E_INVAL, "option '%s=%s': wants a number from %llu to %llu", row->name,
				 value, (unsigned long long)row->min, (unsigned long long)row->max);
	*(uint64_t *)(void *)((char *)o + row->field) = number;
	return 0;
}

static int set_row(const struct row *row, struct mount_options *o, const char *value, struct error *err)
{
	bool wants_value = row->kind == NUMBER || row->kind == BYTES || row->kind == TEXT;

	if (wants_value != (value != NULL))
		return error_say(err, -E_INVAL, "option '%s' %s a value", row->name,
				 wants_value ? "needs" : "takes no");
	switch (row->kind) {
	case FLAG_ON:
	case FLAG_OFF:
		*(bool *)((char *)o + row->field) = row->kind == FLAG_ON;
		return 0;
	case TEXT:
		if (!text_copy((char *)o + row->field, row->field_bytes, value))
			return error_say(err, -E_INVAL, "option '%s': value is too long", row->name);
		return 0;
	case NUMBER:
	case BYTES:
		break;
	}
	return set_number(row, o, value, err);
}

static int pass_on(struct mount_options *o, const char *name, struct error *err)
{
	size_t len = strlen(o->kernel_options);
	int n;

	if (strcmp(name, "allow_other") == 0 || strcmp(name, "default_permissions") == 0)
		return 0;	/* always on */
	n = snprintf(o->kernel_options + len, sizeof o->kernel_options - len, "%s%s", len ? "," : "", name);
	if (n < 0 || (size_t)n >= sizeof o->kernel_options - len)
		return error_say(err, -E_INVAL, "too many mount options");
	return 0;
}

static int set_option(struct mount_options *o, char *option, struct error *err)
{
	char *value = strchr(option, '=');

	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		if (strcmp(rows[i].name, option) == 0)
			return set_row(&rows[i], o, value, err);
	if (!value && is_among(option, kernel_names, ARRAY_COUNT(kernel_names)))
		return pass_on(o, option, err);
	if ((!value && is_among(option, ignored_names, ARRAY_COUNT(ignored_names))) ||
	    strncmp(option, "x-", 2) == 0 || strcmp(option, "comment") == 0)
		return 0;
	return error_say(err, -E_INVAL, "unknown mount option '%s'; see mount.cairn --help", option);
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
	colon = memchr(bracket ? bracket : source, ':', host_len - (size_t)((bracket ? bracket : source) - source));
	if (colon)
		n = snprintf(out, out_bytes, "%.*s", (int)host_len, source);
	else
		n = snprintf(out, out_bytes, "%.*s:%d", (int)host_len, source, MOUNT_PORT_DEFAULT);
	return n > 0 && (size_t)n < out_bytes ? 0 : -E_INVAL;
}

/* /var/cache/cairn/MOUNTPOINT with '/' as '-': two mounts of a node keep apart. */
static void default_cache_dir(struct mount_options *o)
{
	size_t at;

	if (o->cache_dir[0])
		return;
	at = (size_t)snprintf(o->cache_dir, sizeof o->cache_dir, "/var/cache/cairn/");
	for (const char *s = o->mountpoint + 1; *s && at + 1 < sizeof o->cache_dir; s++)
		o->cache_dir[at++] = *s == '/' ? '-' : *s;
	o->cache_dir[at] = '\0';
}

static void set_defaults(struct mount_options *o)
{
	memset(o, 0, sizeof *o);
	o->timeo_s = 60;
	o->memory_bytes = MiB(256);
	o->read_ahead_kb = 4096;
	o->flush_ms = 1000;
	o->blocks_in_flight = 64;
	o->threads = 4;
	(void)text_copy(o->codec, sizeof o->codec, "lz4");
	(void)text_copy(o->log_file, sizeof o->log_file, "/var/log/cairn/mount.log");
}

static int set_operands(struct mount_options *o, int count, char **operands, struct error *err)
{
	if (count != 2)
		return error_say(err, -E_INVAL, "needs SOURCE and DIRECTORY: mount.cairn HOST:/ /models");
	if (!text_copy(o->source, sizeof o->source, operands[0]) ||
	    mount_options_address(o->source, o->mds_address, sizeof o->mds_address) < 0)
		return error_say(err, -E_INVAL, "bad source '%s': wants HOST:/ or HOST:PORT:/", operands[0]);
	if (!realpath(operands[1], o->mountpoint))
		return error_say(err, -E_NOENT, "cannot mount on '%s': %s", operands[1], strerror(errno));
	default_cache_dir(o);
	return 0;
}

int mount_options_parse(int argc, char **argv, struct mount_options *o, struct error *err)
{
	enum { OPT_FOREGROUND = 256, OPT_PID_FILE };
	static const struct option longs[] = {
		{ "foreground", no_argument, NULL, OPT_FOREGROUND },
		{ "pid-file", required_argument, NULL, OPT_PID_FILE },
		{ "options", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c, rc = 0;

	set_defaults(o);
	optind = 0;
	opterr = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, "sfnvrwt:o:hN:", longs, NULL)) != -1) {
		switch (c) {
		case 's': case 'n': case 't': case 'N': break;	/* mount(8) passes them; nothing to do */
		case 'f': o->is_fake = true; break;
		case 'v': o->is_verbose = true; break;
		case 'r': rc = pass_on(o, "ro", err); break;
		case 'w': rc = pass_on(o, "rw", err); break;
		case 'o': rc = set_options(o, optarg, err); break;
		case OPT_FOREGROUND: o->is_foreground = true; break;
		case OPT_PID_FILE:
			if (!text_copy(o->pid_file, sizeof o->pid_file, optarg))
				rc = error_say(err, -E_INVAL, "pid file name is too long");
			break;
		case 'h': o->is_help = true; return 0;
		default:
			return error_say(err, -E_INVAL, "unknown option '%s'; see mount.cairn --help",
					 argv[optind - 1]);
		}
	}
	return rc < 0 ? rc : set_operands(o, argc - optind, argv + optind, err);
}

void mount_options_help(void)
{
	puts("usage: mount.cairn HOST[:PORT]:/ DIRECTORY [-o OPTION,...]\n"
	     "Mount a cairn file system; `mount -t cairn` and fstab call this.\n\n"
	     "  --foreground      stay in the foreground, log to stderr\n"
	     "  --pid-file FILE   write the process id there once mounted\n"
	     "  -f                fake: check the arguments only\n"
	     "  -v                verbose\n"
	     "  -r, -w            the same as -o ro, -o rw\n\n"
	     "-o OPTION,...       those of mount(8), and:");
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char name[64];

		snprintf(name, sizeof name, "%s%s%s", rows[i].name, rows[i].argument[0] ? "=" : "",
			 rows[i].argument);
		printf("  %-20s %s\n", name, rows[i].help);
	}
	puts("\nunmount with umount(8). Exit status is mount(8)'s: 0 done, 1 usage, 2 system,\n"
	     "32 mount failed. See mount.cairn(8).");
}

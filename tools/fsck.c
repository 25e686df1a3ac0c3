/* SPDX-License-Identifier: Apache-2.0 */
/* fsck.cairn: which directories, how to report, which exit status. */
#include "tools/fsck.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/config.h"
#include "fs/base/log.h"
#include "tools/layout.h"

struct arguments {
	struct fsck_options options;
	const char *dir, *mds;
	bool live, json;
	char *owned[FSCK_METADATA_DIRS_MAX + FSCK_DISKS_MAX];
	uint32_t owned_count;
};

/* --- which directories ------------------------------------------------------------------------ */

static int add(struct arguments *a, bool is_metadata, const char *path, struct error *err)
{
	struct fsck_options *o = &a->options;
	char *copy;

	if (is_metadata ? o->metadata_dir_count == FSCK_METADATA_DIRS_MAX
			: o->disk_count == FSCK_DISKS_MAX)
		return error_say(err, -E_TOOBIG, "at most %u %s directories",
				 is_metadata ? FSCK_METADATA_DIRS_MAX : FSCK_DISKS_MAX,
				 is_metadata ? "metadata" : "chunk");
	copy = strdup(path);
	if (!copy)
		return error_set(err, -E_NOMEM, "cannot start");
	a->owned[a->owned_count++] = copy;
	if (is_metadata)
		o->metadata_dirs[o->metadata_dir_count++] = copy;
	else
		o->disk_dirs[o->disk_count++] = copy;
	return 0;
}

/* "DIR,DIR" */
static int add_list(struct arguments *a, bool is_metadata, char *list, struct error *err)
{
	char *dir;
	int rc = 0;

	while (rc == 0 && (dir = strsep(&list, ",")))
		if (*dir)
			rc = add(a, is_metadata, dir, err);
	return rc;
}

static int add_journal_dirs(struct arguments *a, const char *dir, struct error *err)
{
	char path[PATH_MAX + 16];
	struct config config;
	int rc;

	config_init(&config);
	(void)snprintf(path, sizeof path, "%s/cairn.conf", dir);
	rc = config_read_file(&config, path, err);
	if (rc == -E_NOENT)
		return 0;
	for (uint32_t i = 0; i < config.journal_dirs.count && rc == 0; i++)
		rc = add(a, true, config.journal_dirs.path[i], err);
	return rc;
}

/* The folder of `cairn dev` or `cairn up`; one that lost its cluster.json is found by its folders.
 */
static int add_cluster(struct arguments *a, const char *dir, struct error *err)
{
	struct layout l;
	char path[PATH_MAX];
	struct stat st;
	int rc = layout_load(&l, dir, err);

	if (rc < 0 && rc != -E_NOENT)
		return rc;
	if (rc < 0) {
		memset(&l, 0, sizeof l);
		(void)snprintf(l.dir, sizeof l.dir, "%.*s", PATH_MAX - 64, dir);
	}
	rc = add(a, true, layout_path(&l, path, "mds", ""), err);
	if (rc == 0)
		rc = add_journal_dirs(a, dir, err);
	for (uint32_t i = 0; i < l.server_count && rc == 0; i++)
		rc = add(a, false, l.cs_dirs[i], err);
	for (uint32_t i = 1; l.server_count == 0 && i <= LAYOUT_SERVERS_MAX && rc == 0; i++)
		if (stat(layout_numbered(&l, path, "cs", i), &st) == 0)
			rc = add(a, false, path, err);
	layout_finish(&l);
	return rc;
}

/* --- the command ------------------------------------------------------------------------------ */

static const struct argp_option argp_options[] = {
	{"metadata", 'm', "DIR[,DIR...]", 0,
	 "the metadata directory, then further journal directories", 0},
	{"disk", 'd', "DIR[,DIR...]", 0, "chunk directories; again for more", 0},
	{"dir", 'D', "DIR", 0,
	 "a folder of `cairn dev` or `cairn up`: all of it (default: CAIRN_DIR)", 0},
	{"live", 'l', NULL, 0, "check a running cluster over the network", 0},
	{"mds", 'M', "HOST:PORT", 0, "the metadata server, for --live", 0},
	{"repair", 'r', NULL, 0, "mend what can be mended", 0},
	{"json", 'j', NULL, 0, "print one JSON object", 0},
	{"scratch", 's', "DIR", 0, "where temporary tables go (TMPDIR, else /var/tmp)", 0},
	{NULL, 'n', NULL, 0, "change nothing (default)", 0},
	{NULL, 'y', NULL, 0, "the same as --repair", 0},
	{NULL, 'a', NULL, OPTION_ALIAS, NULL, 0},
	{NULL, 'p', NULL, OPTION_ALIAS, NULL, 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;
	struct error err = {0};

	switch (key) {
	case 'm':
	case 'd':
		if (add_list(a, key == 'm', text, &err) < 0)
			argp_error(state, "%s", err.text);
		break;
	case ARGP_KEY_ARG:
	case 'D':
		a->dir = text;
		break;
	case 'l':
		a->live = true;
		break;
	case 'M':
		a->mds = text;
		break;
	case ARGP_KEY_END:
		if (a->live && (a->options.metadata_dir_count || a->options.disk_count))
			argp_error(state, "--live asks servers: it takes no directories");
		break;
	case 'r':
	case 'y':
	case 'a':
	case 'p':
		a->options.repair = true;
		break;
	case 'n':
		a->options.repair = false;
		break;
	case 'j':
		a->json = true;
		break;
	case 's':
		a->options.scratch_dir = text;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {argp_options,
				 parse_option,
				 "[DIR]",
				 "Prove a cairn file system: superblocks, journal, snapshots, "
				 "every name, and every block of every file "
				 "on every server that should have it."
				 "\vExit status, as fsck(8): 0 clean, 1 errors corrected, 4 errors "
				 "left, 8 could not check, 16 usage. "
				 "See fsck.cairn(8).",
				 NULL,
				 NULL,
				 NULL};

static int find_directories(struct arguments *a, struct error *err)
{
	const char *dir = a->dir ? a->dir : getenv("CAIRN_DIR");

	if (a->options.metadata_dir_count)
		return 0;
	if (a->options.disk_count)
		return error_say(err, -E_INVAL, "--disk wants --metadata as well");
	if (!dir)
		return error_say(err, -E_INVAL,
				 "which file system? give --metadata and --disk, or --dir");
	return add_cluster(a, dir, err);
}

static void print_summary(const struct fsck_result *r)
{
	printf("%s: %llu files, %llu directories, %llu blocks of files in %llu records; %llu "
	       "errors left, "
	       "%llu corrected, %llu notes\n",
	       r->fault_count ? "NOT CLEAN" : "clean", (unsigned long long)r->files,
	       (unsigned long long)r->directories, (unsigned long long)r->blocks,
	       (unsigned long long)r->records, (unsigned long long)r->fault_count,
	       (unsigned long long)r->corrected_count, (unsigned long long)r->note_count);
}

static int run(struct arguments *a)
{
	struct fsck_result result = {.json = NULL};
	struct error err = {0};
	int rc, status;

	a->options.print = !a->json;
	a->options.progress = !a->json || isatty(STDERR_FILENO);
	/* The configuration of that folder names the metadata server. */
	if (a->live && a->dir && setenv("CAIRN_DIR", a->dir, 1) != 0)
		return FSCK_OPERATIONAL;
	rc = a->live ? 0 : find_directories(a, &err);
	if (rc < 0) {
		fprintf(stderr, "fsck.cairn: %s\n", err.text);
		return rc == -E_INVAL ? FSCK_USAGE : FSCK_OPERATIONAL;
	}
	rc = a->live ? fsck_live(a->mds, &a->options, &result, &err)
		     : fsck_check(&a->options, &result, &err);
	status = (result.corrected_count ? FSCK_CORRECTED : 0) |
		 (result.fault_count ? FSCK_LEFT : 0);
	if (rc < 0) {
		fprintf(stderr, "fsck.cairn: %s\n", err.text);
		status |= FSCK_OPERATIONAL;
	} else if (a->json &&
		   (!result.json ||
		    json_dumpf(result.json, stdout, JSON_INDENT(2) | JSON_SORT_KEYS) != 0 ||
		    putchar('\n') == EOF)) {
		status |= FSCK_OPERATIONAL;
	} else if (!a->json) {
		print_summary(&result);
	}
	fsck_result_finish(&result);
	return status;
}

int fsck_run(int argc, char **argv)
{
	struct arguments a = {.json = false};
	int status = FSCK_USAGE;

	argp_err_exit_status = FSCK_USAGE;
	log_init("fsck.cairn", LOG_LEVEL_ERROR);
	if (argp_parse(&argp, argc, argv, 0, NULL, &a) == 0)
		status = run(&a);
	for (uint32_t i = 0; i < a.owned_count; i++)
		free(a.owned[i]);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The argp front of the settings. The command line is stronger than the file but names it, so what
 * it sets is kept until its end.
 */
#include "fs/base/config_argp.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Keys of options without a letter lie above all characters; the rows' own follow. */
enum { KEY_CONFIG = 0x1000, KEY_SET, KEY_DUMP, KEY_ROWS };

#define NAME_BYTES 48u
#define DOC_BYTES  200u
#define FIXED	   3u

struct made {
	struct argp argp;
	struct argp_option *options;	/* FIXED, the rows, and an end */
	char (*names)[NAME_BYTES];
	char (*docs)[DOC_BYTES];
};

static void add(struct config_argp *a, struct argp_state *state, const struct config_row *row,
		const char *value)
{
	if (a->set_count == CONFIG_ARGS_MAX)
		argp_error(state, "more than %u settings", CONFIG_ARGS_MAX);
	else
		a->sets[a->set_count++] = (struct config_argp_set){.row = row, .value = value};
}

static int apply(struct config_argp *a, struct error *err)
{
	int rc = config_read_file(&a->config, a->file ? a->file : CONFIG_FILE, err);

	/* Nobody asked for the usual file. */
	if (rc == -E_NOENT && !a->file)
		rc = 0;
	for (unsigned i = 0; rc == 0 && i < a->set_count; i++) {
		const struct config_argp_set *set = &a->sets[i];
		char name[NAME_BYTES];

		if (!set->row) {
			rc = config_assign(&a->config, set->value, err);
			continue;
		}
		snprintf(name, sizeof(name), "%s.%s", set->row->section, set->row->key);
		rc = config_set(&a->config, name, set->value, err);
	}
	return rc < 0 ? rc : config_check(&a->config, err);
}

static void dump(const struct config *c, struct argp_state *state)
{
	struct text out;

	text_init(&out, 2 * CONFIG_FILE_BYTES_MAX);
	config_dump(c, &out);
	fputs(text_chars(&out), state->out_stream);
	bool failed = out.failed || fflush(state->out_stream) != 0;
	text_finish(&out);
	exit(failed ? EXIT_FAILURE : EXIT_SUCCESS);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct config_argp *a = state->input;
	struct error err = {0};

	switch (key) {
	case ARGP_KEY_INIT:
		config_init(&a->config);
		a->file = NULL;
		a->dump = false;
		a->set_count = 0;
		return 0;
	case KEY_CONFIG:
		a->file = arg;
		return 0;
	case KEY_SET:
		add(a, state, NULL, arg);
		return 0;
	case KEY_DUMP:
		a->dump = true;
		return 0;
	case ARGP_KEY_SUCCESS:
		if (apply(a, &err) < 0) {
			argp_failure(state, argp_err_exit_status, 0, "%s", err.text);
			return EINVAL; /* where argp may not exit */
		}
		if (a->dump)
			dump(&a->config, state);
		return 0;
	default:
		if (key < KEY_ROWS || key >= KEY_ROWS + (int)config_row_count())
			return ARGP_ERR_UNKNOWN;
		add(a, state, config_row_at((size_t)(key - KEY_ROWS)), arg);
		return 0;
	}
}

static const char *arg_name(enum config_type type)
{
	static const char *const names[] = {
		[CONFIG_BYTES] = "BYTES", [CONFIG_MS] = "TIME",
		[CONFIG_COUNT] = "N",	  [CONFIG_BOOL] = "yes|no",
		[CONFIG_TEXT] = "TEXT",	  [CONFIG_ADDRESS] = "HOST:PORT",
		[CONFIG_CHOICE] = "WORD", [CONFIG_PATHS] = "DIR,...",
	};
	return names[type];
}

static bool is_listed(const char *sections, const char *section)
{
	size_t len = strlen(section);

	for (const char *at = strstr(sections, section); at; at = strstr(at + 1, section))
		if ((at == sections || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
			return true;
	return false;
}

static void make_row(struct made *m, size_t index, const char *sections)
{
	const struct config_row *row = config_row_at(index);
	char *name = m->names[index];
	int group = 1;

	snprintf(name, NAME_BYTES, "%s-%s", row->section, row->key);
	for (char *at = name; *at; at++)
		if (*at == '_')
			*at = '-';
	snprintf(m->docs[index], DOC_BYTES, "%s%s%s%s%s%s", row->help,
		 row->choices ? ": " : "", row->choices ? row->choices : "",
		 *row->fallback ? " (" : "", row->fallback, *row->fallback ? ")" : "");
	/* Groups keep the rows of a section together, in the order of the table. */
	for (size_t i = 1; i <= index; i++)
		if (strcmp(config_row_at(i)->section, config_row_at(i - 1)->section) != 0)
			group++;
	m->options[FIXED + index] = (struct argp_option){
		.name = name,
		.key = KEY_ROWS + (int)index,
		.arg = arg_name(row->type),
		.flags = is_listed(sections, row->section) ? 0 : OPTION_HIDDEN,
		.doc = m->docs[index],
		.group = group,
	};
}

const struct argp *config_argp(const char *sections)
{
	static struct made m;
	static const struct argp_option fixed[FIXED] = {
		{"config", KEY_CONFIG, "FILE", 0, "read settings from FILE (" CONFIG_FILE ")", 0},
		{"set", KEY_SET, "SECTION.KEY=VALUE", 0, "change one setting; may be repeated", 0},
		{"dump-config", KEY_DUMP, NULL, 0, "print all settings as a file, and end", 0},
	};
	size_t count = config_row_count();

	if (m.options)
		return &m.argp;
	m.names = calloc(count, sizeof(*m.names));
	m.docs = calloc(count, sizeof(*m.docs));
	struct argp_option *options = calloc(FIXED + count + 1, sizeof(*options));
	if (!m.names || !m.docs || !options) {
		free(m.names);
		free(m.docs);
		free(options);
		return NULL;
	}
	m.options = options;
	memcpy(options, fixed, sizeof(fixed));
	for (size_t i = 0; i < count; i++)
		make_row(&m, i, sections);
	m.argp = (struct argp){.options = options, .parser = parse};
	return &m.argp;
}

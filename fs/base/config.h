/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: one table (options.def), one struct, one range check. They come from, the later the
 * stronger: the defaults, a file (INI: [section], key = value), the command line (config_argp.h).
 *
 * Every text, from wherever, goes through config_set(): it is parsed by the setting's type and
 * checked against its range; config_check() then looks at relations between settings. A setting or
 * section that is not in the table is an error, and so is one that a file sets twice, except PATHS,
 * which grow line by line.
 *
 * Ownership: the struct owns all it holds and may be copied. Threads: one, before others start.
 */
#ifndef CAIRN_FS_BASE_CONFIG_H
#define CAIRN_FS_BASE_CONFIG_H

#include "fs/base/text.h"

#define CONFIG_FILE		"/etc/cairn/cairn.conf"
#define CONFIG_FILE_BYTES_MAX	KiB(64)
#define CONFIG_TEXT_BYTES	512u	/* a text or path, with its terminator */

struct config_paths {
	uint32_t count;
	char path[DISKS_MAX][CONFIG_TEXT_BYTES];
};

#define CONFIG_FIELD_BYTES(name)	uint64_t name;
#define CONFIG_FIELD_MS(name)		uint64_t name;
#define CONFIG_FIELD_COUNT(name)	uint64_t name;
#define CONFIG_FIELD_BOOL(name)		bool name;
#define CONFIG_FIELD_TEXT(name)		char name[CONFIG_TEXT_BYTES];
#define CONFIG_FIELD_ADDRESS(name)	char name[CONFIG_TEXT_BYTES];
#define CONFIG_FIELD_CHOICE(name)	char name[CONFIG_TEXT_BYTES];
#define CONFIG_FIELD_PATHS(name)	struct config_paths name;

/* config.cs_segment_bytes is key segment_bytes of section [cs]. */
struct config {
#define X(section, key, type, fallback, low, high, help) CONFIG_FIELD_##type(section##_##key)
#include "fs/base/options.def"
#undef X
};

enum config_type {
	CONFIG_BYTES, CONFIG_MS, CONFIG_COUNT, CONFIG_BOOL, CONFIG_TEXT, CONFIG_ADDRESS,
	CONFIG_CHOICE, CONFIG_PATHS
};

/* A row of the table, for whoever prints or offers settings. */
struct config_row {
	const char *section;
	const char *key;
	const char *fallback;	/* the default, as text */
	const char *choices;	/* of CONFIG_CHOICE: words separated by | */
	const char *help;
	uint64_t low, high;
	size_t offset;		/* in struct config */
	enum config_type type;
};
size_t config_row_count(void);
const struct config_row *config_row_at(size_t index);

/* All defaults. */
void config_init(struct config *c);

/*
 * Set "SECTION.KEY" from text; nothing is changed on failure. -E_INVAL, -E_RANGE with a sentence.
 */
must_check int config_set(struct config *c, const char *name, const char *value, struct error *err);
/* The same from "SECTION.KEY=VALUE". */
must_check int config_assign(struct config *c, const char *assignment, struct error *err);

/* Read a file; the sentence of a failure starts with FILE:LINE. -E_NOENT: there is none. */
must_check int config_read_file(struct config *c, const char *path, struct error *err);
/* The same from text; `name` stands for the file in messages. */
must_check int config_read_text(struct config *c, const char *name, const char *text,
				struct error *err);

/* What must hold between settings. -E_INVAL. */
must_check int config_check(const struct config *c, struct error *err);

/* The value of a row as text that config_set() takes back, to `out`. */
void config_value(const struct config *c, const struct config_row *row, struct text *out);
/* All of it as a file that config_read_text() takes back. */
void config_dump(const struct config *c, struct text *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The table of settings: parsing by type, ranges, files, and back to text. */
#include "fs/base/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BOUNDS_BYTES(from, to)	 .low = (from), .high = (to)
#define BOUNDS_MS(from, to)	 .low = (from), .high = (to)
#define BOUNDS_COUNT(from, to)	 .low = (from), .high = (to)
#define BOUNDS_BOOL(from, to)	 .low = (from), .high = (to)
#define BOUNDS_TEXT(from, to)	 .low = (from), .high = (to)
#define BOUNDS_ADDRESS(from, to) .low = (from), .high = (to)
#define BOUNDS_PATHS(from, to)	 .low = (from), .high = (to)
#define BOUNDS_CHOICE(words, to) .choices = (words), .high = (to)

static const struct config_row rows[] = {
#define X(section_, key_, type_, fallback_, low_, high_, help_)                                    \
	{.section = #section_,                                                                     \
	 .key = #key_,                                                                             \
	 .fallback = (fallback_),                                                                  \
	 .help = (help_),                                                                          \
	 .offset = offsetof(struct config, section_##_##key_),                                     \
	 .type = CONFIG_##type_,                                                                   \
	 BOUNDS_##type_(low_, high_)},
#include "fs/base/options.def"
#undef X
};

size_t config_row_count(void)
{
	return ARRAY_COUNT(rows);
}

const struct config_row *config_row_at(size_t index)
{
	ASSERT(index < ARRAY_COUNT(rows));
	return &rows[index];
}

static const struct config_row *find_row(const char *section, size_t section_len, const char *key)
{
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		if (strncmp(rows[i].section, section, section_len) == 0 &&
		    rows[i].section[section_len] == '\0' && strcmp(rows[i].key, key) == 0)
			return &rows[i];
	return NULL;
}

static void *field(struct config *c, const struct config_row *row)
{
	return (char *)c + row->offset;
}

static int complain(const struct config_row *row, int code, const char *value, const char *what,
		    struct error *err)
{
	return error_say(err, code, "%s.%s: '%.100s' %s", row->section, row->key, value, what);
}

/* Text that a file can hold and a log line can show. */
static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (iscntrl((unsigned char)*s) || *s == ';')
			return false;
	return true;
}

static bool is_address(const char *s)
{
	const char *colon = strrchr(s, ':');
	uint64_t port;

	return colon && colon != s && text_parse_u64(colon + 1, &port) == 0 && port <= UINT16_MAX;
}

static bool is_choice(const char *choices, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = choices; at; at = strchr(at, '|')) {
		at += *at == '|';
		if (len && strncmp(at, word, len) == 0 && (at[len] == '|' || at[len] == '\0'))
			return true;
	}
	return false;
}

/* The number of `row` in the words of its type, for messages. */
static void describe(const struct config_row *row, uint64_t v, struct text *out)
{
	char human[TEXT_BYTES_HUMAN];

	if (row->type == CONFIG_BYTES)
		text_add(out, text_bytes_human(human, v));
	else
		text_addf(out, "%" PRIu64 "%s", v, row->type == CONFIG_MS ? " ms" : "");
}

static int set_number(const struct config_row *row, const char *value, uint64_t *to,
		      struct error *err)
{
	uint64_t v;
	int rc;

	if (row->type == CONFIG_BYTES)
		rc = text_parse_bytes(value, &v);
	else if (row->type == CONFIG_MS)
		rc = text_parse_ms(value, &v);
	else
		rc = text_parse_u64(value, &v);
	if (rc == -E_INVAL) {
		static const char *const what[] = {
			[CONFIG_BYTES] = "is not a number of bytes, such as 64M",
			[CONFIG_MS] = "is not a time, such as 500ms or 10s",
			[CONFIG_COUNT] = "is not a number",
		};
		return complain(row, -E_INVAL, value, what[row->type], err);
	}
	if (rc < 0 || v < row->low || v > row->high) {
		struct text range;
		text_init(&range, 128);
		text_add(&range, "is not within ");
		describe(row, row->low, &range);
		text_add(&range, " .. ");
		describe(row, row->high, &range);
		(void)complain(row, -E_RANGE, value, text_chars(&range), err);
		text_finish(&range);
		return -E_RANGE;
	}
	*to = v;
	return 0;
}

static int set_bool(const struct config_row *row, const char *value, bool *to, struct error *err)
{
	static const char *const words[][2] = {
		{"no", "yes"}, {"false", "true"}, {"off", "on"}, {"0", "1"}};

	for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
		for (unsigned truth = 0; truth < 2; truth++) {
			if (strcasecmp(value, words[i][truth]) != 0)
				continue;
			*to = truth;
			return 0;
		}
	}
	return complain(row, -E_INVAL, value, "is neither yes nor no", err);
}

static int set_text(const struct config_row *row, const char *value, char *to, struct error *err)
{
	size_t len = strlen(value);

	if (!is_plain(value))
		return complain(row, -E_INVAL, value, "holds a control character or ';'", err);
	if (row->type == CONFIG_CHOICE && !is_choice(row->choices, value))
		return error_say(err, -E_INVAL, "%s.%s: '%.100s' is not one of %s", row->section,
				 row->key, value, row->choices);
	if (row->type == CONFIG_ADDRESS && !is_address(value) && (len > 0 || row->low > 0))
		return complain(row, -E_INVAL, value, "is not HOST:PORT", err);
	if (row->type == CONFIG_TEXT && len < row->low)
		return complain(row, -E_RANGE, value, "must not be empty", err);
	if ((row->type == CONFIG_TEXT && len > row->high) || len >= CONFIG_TEXT_BYTES)
		return complain(row, -E_RANGE, value, "is too long", err);
	memcpy(to, value, len + 1);
	return 0;
}

/* Add the paths between the commas of `value`. */
static int add_paths(const struct config_row *row, const char *value, struct config_paths *to,
		     struct error *err)
{
	uint32_t count = to->count;

	if (!is_plain(value))
		return complain(row, -E_INVAL, value, "holds a control character or ';'", err);
	for (const char *at = value; at;) {
		const char *comma = strchr(at, ',');
		const char *end = comma ? comma : at + strlen(at);
		while (at < end && isspace((unsigned char)*at))
			at++;
		while (end > at && isspace((unsigned char)end[-1]))
			end--;
		size_t len = (size_t)(end - at);
		if (len >= CONFIG_TEXT_BYTES)
			return complain(row, -E_RANGE, value, "has a path that is too long", err);
		/* On a line of its own it would be a comment, or a section. */
		if (len > 0 && (*at == '#' || *at == '['))
			return complain(row, -E_INVAL, value, "has a path that begins with # or [",
					err);
		if (len > 0) {
			if (count >= row->high)
				return complain(row, -E_RANGE, value, "is a path too many", err);
			memcpy(to->path[count], at, len);
			to->path[count++][len] = '\0';
		}
		at = comma ? comma + 1 : NULL;
	}
	if (count < row->low)
		return complain(row, -E_RANGE, value, "names no path", err);
	to->count = count;
	return 0;
}

static int set_paths(const struct config_row *row, const char *value, struct config_paths *to,
		     struct error *err)
{
	struct config_paths fresh = {0};
	int rc = add_paths(row, value, &fresh, err);

	if (rc == 0)
		*to = fresh;
	return rc;
}

static int set_row(struct config *c, const struct config_row *row, const char *value,
		   struct error *err)
{
	switch (row->type) {
	case CONFIG_BYTES:
	case CONFIG_MS:
	case CONFIG_COUNT:
		return set_number(row, value, field(c, row), err);
	case CONFIG_BOOL:
		return set_bool(row, value, field(c, row), err);
	case CONFIG_TEXT:
	case CONFIG_ADDRESS:
	case CONFIG_CHOICE:
		return set_text(row, value, field(c, row), err);
	case CONFIG_PATHS:
		return set_paths(row, value, field(c, row), err);
	}
	return -E_INVAL;
}

void config_init(struct config *c)
{
	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		int rc = set_row(c, &rows[i], rows[i].fallback, NULL);
		ASSERT(rc == 0);
	}
}

int config_set(struct config *c, const char *name, const char *value, struct error *err)
{
	const char *dot = strchr(name, '.');
	const struct config_row *row = NULL;

	if (dot)
		row = find_row(name, (size_t)(dot - name), dot + 1);
	if (!row)
		return error_say(err, -E_INVAL, "unknown setting '%.100s'", name);
	return set_row(c, row, value, err);
}

int config_assign(struct config *c, const char *assignment, struct error *err)
{
	const char *equals = strchr(assignment, '=');
	char name[64];

	if (!equals)
		return error_say(err, -E_INVAL, "'%.100s' is not SECTION.KEY=VALUE", assignment);
	if ((size_t)(equals - assignment) >= sizeof(name))
		return error_say(err, -E_INVAL, "unknown setting '%.100s'", assignment);
	memcpy(name, assignment, (size_t)(equals - assignment));
	name[equals - assignment] = '\0';
	return config_set(c, name, equals + 1, err);
}

/* A file being read. inih goes on after an error, so the first one is kept here. */
struct source {
	struct config *config;
	const char *at;			/* the rest of the text */
	const char *name;
	struct error *err;
	unsigned line;			/* handed out last, from 1 */
	int rc;				/* of the first failure */
	bool seen[ARRAY_COUNT(rows)];
};

static void source_fail(struct source *s, int code, const char *what)
{
	if (s->rc == 0)
		s->rc = error_say(s->err, code, "%s:%u: %s", s->name, s->line, what);
}

/* inih tells nobody of a section without keys, so section lines are looked at as they pass. */
static void check_section(struct source *s, const char *line)
{
	line += strspn(line, " \t");
	if (*line != '[')
		return;
	size_t len = strcspn(++line, "]\n");
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		if (strncmp(rows[i].section, line, len) == 0 && rows[i].section[len] == '\0')
			return;
	source_fail(s, -E_INVAL, "unknown section");
}

/* inih's reader, like fgets(). It would take the rest of too long a line for another one. */
static char *source_read(char *out, int room, void *arg)
{
	struct source *s = arg;
	size_t len = strcspn(s->at, "\n");

	if (*s->at == '\0' || s->rc < 0)
		return NULL;
	s->line++;
	if (s->at[len] == '\n')
		len++;
	if (len >= (size_t)room) {
		source_fail(s, -E_TOOBIG, "line is too long");
		return NULL;
	}
	memcpy(out, s->at, len);
	out[len] = '\0';
	s->at += len;
	check_section(s, out);
	return out;
}

static int source_set(void *arg, const char *section, const char *key, const char *value)
{
	struct source *s = arg;
	const struct config_row *row = find_row(section, strlen(section), key);
	struct error err = {0};
	int rc;

	if (s->rc < 0)
		return 0;
	if (!row) {
		error_say(&err, -E_INVAL, "unknown setting '%.64s.%.64s'", section, key);
		source_fail(s, -E_INVAL, err.text);
		return 0;
	}
	bool *seen = &s->seen[row - rows];
	if (row->type == CONFIG_PATHS && *seen)
		rc = add_paths(row, value, field(s->config, row), &err);
	else if (*seen)
		rc = error_say(&err, -E_INVAL, "%s.%s is set twice", section, key);
	else
		rc = set_row(s->config, row, value, &err);
	*seen = true;
	if (rc < 0)
		source_fail(s, rc, err.text);
	return rc == 0;
}

int config_read_text(struct config *c, const char *name, const char *text, struct error *err)
{
	struct source s = {.config = c, .at = text, .name = name, .err = err};
	int bad_line = ini_parse_stream(source_read, &s, source_set, &s);

	if (s.rc == 0 && bad_line > 0) {
		s.line = (unsigned)bad_line;
		source_fail(&s, -E_INVAL, "neither [section] nor key = value");
	} else if (s.rc == 0 && bad_line < 0) {
		source_fail(&s, -E_NOMEM, "out of memory");
	}
	return s.rc;
}

int config_read_file(struct config *c, const char *path, struct error *err)
{
	char part[4096];
	struct text text;
	size_t len;
	int rc;

	FILE *file = fopen(path, "re");
	if (!file)
		return error_set(err, error_from_errno(errno), "cannot open '%s'", path);
	text_init(&text, CONFIG_FILE_BYTES_MAX);
	while ((len = fread(part, 1, sizeof(part), file)) > 0)
		text_add_bytes(&text, part, len);

	if (ferror(file))
		rc = error_set(err, -E_IO, "cannot read '%s'", path);
	else if (text.failed)
		rc = error_set(err, -E_FBIG, "cannot read '%s'", path);
	else if (strlen(text_chars(&text)) != text.len)
		rc = error_say(err, -E_INVAL, "cannot read '%s': is not a text", path);
	else
		rc = config_read_text(c, path, text_chars(&text), err);
	text_finish(&text);
	fclose(file);
	return rc;
}

int config_check(const struct config *c, struct error *err)
{
	if (c->cluster_min_copies > c->cluster_copies)
		return error_say(err, -E_INVAL, "cluster.min_copies is above cluster.copies");
	if (c->server_heartbeat_ms >= c->server_suspect_ms)
		return error_say(err, -E_INVAL,
				 "server.heartbeat_ms is not below server.suspect_ms");
	if (c->server_suspect_ms > c->server_down_ms)
		return error_say(err, -E_INVAL, "server.suspect_ms is above server.down_ms");
	if (c->server_down_ms > c->server_out_ms)
		return error_say(err, -E_INVAL, "server.down_ms is above server.out_ms");
	return 0;
}

/* The shortest text that means exactly v. */
static void value_bytes(uint64_t v, struct text *out)
{
	static const char units[] = "KMGT";
	int unit = -1;

	while (v > 0 && v % 1024 == 0 && unit + 1 < (int)strlen(units)) {
		v /= 1024;
		unit++;
	}
	text_addf(out, "%" PRIu64, v);
	if (unit >= 0)
		text_add_bytes(out, &units[unit], 1);
}

static void value_paths(const struct config_paths *paths, const char *between, struct text *out)
{
	for (uint32_t i = 0; i < paths->count; i++)
		text_addf(out, "%s%s", i ? between : "", paths->path[i]);
}

void config_value(const struct config *c, const struct config_row *row, struct text *out)
{
	const void *at = (const char *)c + row->offset;

	switch (row->type) {
	case CONFIG_BYTES:
		value_bytes(*(const uint64_t *)at, out);
		break;
	case CONFIG_MS:
	case CONFIG_COUNT:
		text_addf(out, "%" PRIu64, *(const uint64_t *)at);
		break;
	case CONFIG_BOOL:
		text_add(out, *(const bool *)at ? "yes" : "no");
		break;
	case CONFIG_TEXT:
	case CONFIG_ADDRESS:
	case CONFIG_CHOICE:
		text_add(out, at);
		break;
	case CONFIG_PATHS:
		value_paths(at, ",", out);
		break;
	}
}

void config_dump(const struct config *c, struct text *out)
{
	const char *section = "";

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct config_row *row = &rows[i];
		if (strcmp(section, row->section) != 0)
			text_addf(out, "%s[%s]\n", i ? "\n" : "", row->section);
		section = row->section;
		text_addf(out, "# %s\n%s=", row->help, row->key);
		/* A path per line, as lines have a bound. */
		if (row->type == CONFIG_PATHS)
			value_paths((const void *)((const char *)c + row->offset), "\n ", out);
		else
			config_value(c, row, out);
		text_add(out, "\n");
	}
}

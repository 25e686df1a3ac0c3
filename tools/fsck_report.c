/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/fsck_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/text.h"

#define LISTED_MAX	  10000u /* lines; what is beyond is counted only */
#define PROGRESS_AFTER_MS 2000u
#define PROGRESS_EVERY_MS 500u
#define PROGRESS_LINE_MS  10000u
#define LINE_BYTES	  1024u

static const char *const class_names[] = {
#define X(name, text) [FSCK_##name] = text,
	FSCK_CLASSES(X)
#undef X
};

const char *fsck_class_name(enum fsck_class c)
{
	return class_names[c];
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- text of strangers ------------------------------------------------------------------------ */

/* Length of the UTF-8 sequence at `at`, 0 if it is none (overlong and surrogates included). */
static size_t utf8_len(const uint8_t *at, size_t left)
{
	uint32_t c = at[0];
	size_t len = c < 0x80		     ? 1
		     : c >= 0xc2 && c < 0xe0 ? 2
		     : (c & 0xf0) == 0xe0    ? 3
		     : c >= 0xf0 && c < 0xf5 ? 4
					     : 0;

	if (len == 0 || len > left)
		return 0;
	c &= len == 1 ? 0x7f : 0xffu >> (len + 1);
	for (size_t i = 1; i < len; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (at[i] & 0x3f);
	}
	if (len == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000)))
		return 0;
	return len == 4 && (c < 0x10000 || c > 0x10ffff) ? 0 : len;
}

char *fsck_escape(const void *bytes, size_t len, char *out, size_t out_bytes)
{
	const uint8_t *at = bytes;
	size_t used = 0;

	for (size_t i = 0; i < len && used + 5 < out_bytes;) {
		size_t n = utf8_len(at + i, len - i);

		if (n == 0 || at[i] < 0x20 || at[i] == 0x7f || at[i] == '\\') {
			used += (size_t)snprintf(out + used, out_bytes - used, "\\x%02x", at[i]);
			i++;
			continue;
		}
		memcpy(out + used, at + i, n);
		used += n;
		i += n;
	}
	out[used] = '\0';
	return out;
}

/* --- lines ------------------------------------------------------------------------------------ */

int fsck_report_init(struct fsck_report *r, const struct fsck_options *o,
		     struct fsck_result *result)
{
	memset(result, 0, sizeof *result);
	*r = (struct fsck_report){
		.result = result,
		.print = o->print,
		.progress = o->progress,
		.is_terminal = isatty(STDERR_FILENO),
		.faults = json_array(),
		.corrected = json_array(),
		.notes = json_array(),
		.started_ms = now_ms(),
	};
	return r->faults && r->corrected && r->notes ? 0 : -E_NOMEM;
}

void fsck_report_finish(struct fsck_report *r)
{
	struct fsck_result *s = r->result;
	json_t *classes = json_object();

	for (unsigned i = 0; i < FSCK_CLASS_COUNT; i++)
		json_object_set_new(classes, class_names[i],
				    json_integer((json_int_t)s->faults[i]));
	s->json = json_pack(
		"{s:b, s:o, s:o, s:o, s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}}", "clean",
		s->fault_count == 0, "faults", r->faults, "corrected", r->corrected, "notes",
		r->notes, "fault_counts", classes, "checked", "files", (json_int_t)s->files,
		"directories", (json_int_t)s->directories, "names", (json_int_t)s->names, "records",
		(json_int_t)s->records, "record_bytes", (json_int_t)s->record_bytes, "blocks",
		(json_int_t)s->blocks, "content_bytes", (json_int_t)s->content_bytes);
	if (r->shown_ms && r->is_terminal)
		fputc('\n', stderr);
	r->faults = r->corrected = r->notes = NULL;
}

void fsck_report_join(struct fsck_result *now, const struct fsck_result *before)
{
	json_t *found = json_array(), *corrected = json_array();
	const char *const lists[] = {"found", "corrected"};
	json_t *const into[] = {found, corrected};

	if (!now->json)
		now->json = json_object();
	for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
		json_t *old = before->json ? json_object_get(before->json, lists[i]) : NULL;
		json_t *one = json_object_get(now->json, i == 0 ? "faults" : lists[i]);

		/* Found is what the first look found. */
		if (old)
			json_array_extend(into[i], old);
		if (one && (i > 0 || !before->json))
			json_array_extend(into[i], one);
	}
	json_object_set_new(now->json, "found", found);
	json_object_set_new(now->json, "corrected", corrected);
	now->corrected_count += before->corrected_count;
}

void fsck_result_finish(struct fsck_result *r)
{
	json_decref(r->json);
	r->json = NULL;
}

static void line(struct fsck_report *r, json_t *list, const char *kind, const char *subject,
		 const char *text)
{
	char subject_clean[LINE_BYTES], text_clean[LINE_BYTES];

	if (++r->listed > LISTED_MAX) {
		if (r->listed == LISTED_MAX + 1 && r->print)
			puts("more was found; from here on it is only counted");
		return;
	}
	fsck_escape(subject, strlen(subject), subject_clean, sizeof subject_clean);
	fsck_escape(text, strlen(text), text_clean, sizeof text_clean);
	json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "class", kind, "subject",
					      subject_clean, "text", text_clean));
	if (r->print)
		printf("%s: %s: %s\n", kind, subject_clean, text_clean);
}

void fsck_fault(struct fsck_report *r, enum fsck_class c, const char *subject, const char *format,
		...)
{
	char text[LINE_BYTES];
	va_list args;

	if (r->quiet)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	r->result->faults[c]++;
	r->result->fault_count++;
	line(r, r->faults, class_names[c], subject, text);
}

void fsck_corrected(struct fsck_report *r, enum fsck_class c, const char *subject,
		    const char *format, ...)
{
	char text[LINE_BYTES];
	va_list args;

	(void)snprintf(text, sizeof text, "corrected: ");
	va_start(args, format);
	vsnprintf(text + strlen(text), sizeof text - strlen(text), format, args);
	va_end(args);
	r->result->corrected_count++;
	line(r, r->corrected, class_names[c], subject, text);
}

void fsck_note(struct fsck_report *r, const char *subject, const char *format, ...)
{
	char text[LINE_BYTES];
	va_list args;

	if (r->quiet)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	r->result->note_count++;
	line(r, r->notes, "note", subject, text);
}

/* "37 %, 12 s left" from the speed of this phase so far. */
static void progress_text(struct fsck_report *r, uint64_t done, uint64_t all, uint64_t now,
			  char out[64])
{
	uint64_t ms = now - r->phase_ms;

	if (all < done || all == 0)
		(void)snprintf(out, 64, "%llu", (unsigned long long)done);
	else
		(void)snprintf(out, 64, "%3u %%, %llu s left", (unsigned)(done * 100 / all),
			       (unsigned long long)(done ? ms * (all - done) / done / 1000 : 0));
}

void fsck_progress(struct fsck_report *r, const char *what, uint64_t done, uint64_t all)
{
	char text[64];
	uint64_t now;

	/* asking for the time costs more than a row */
	if (!r->progress || (++r->progress_calls & 63) != 0)
		return;
	now = now_ms();
	if (r->phase == NULL || strcmp(r->phase, what) != 0) {
		r->phase = what;
		r->phase_ms = now;
	}
	if (now - r->started_ms < PROGRESS_AFTER_MS ||
	    now - r->shown_ms < (r->is_terminal ? PROGRESS_EVERY_MS : PROGRESS_LINE_MS))
		return;
	r->shown_ms = now;
	progress_text(r, done, all, now, text);
	fprintf(stderr, r->is_terminal ? "\r%-12s %s\033[K" : "fsck.cairn: %s %s\n", what, text);
}

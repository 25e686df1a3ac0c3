/* SPDX-License-Identifier: Apache-2.0 */
/* cairn df: what is stored, and what dedup and codecs save, apart and honestly. */
#include "tools/command.h"

#include <stdio.h>

#include "fs/base/text.h"
#include "tools/status.h"

static json_t *df_json(const struct status *s)
{
	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:f, s:f, s:f}}", "files",
		(json_int_t)s->reply->files, "bytes_logical", (json_int_t)s->reply->bytes_logical,
		"bytes_unique", (json_int_t)s->bytes_unique, "bytes_stored",
		(json_int_t)s->bytes_stored, "bytes_free", (json_int_t)s->bytes_free, "bytes_total",
		(json_int_t)s->bytes_total, "copies", (json_int_t)s->reply->copies, "ratio",
		"dedup", s->ratio_dedup, "codec", s->ratio_codec, "total", s->ratio_total);
}

static void print_line(const char *what, uint64_t bytes, const char *note)
{
	char human[TEXT_BYTES_HUMAN];

	printf("  %-10s %12s  %s\n", what, text_bytes_human(human, bytes), note);
}

static void print_people(const struct status *s)
{
	char note[96];
	uint32_t copies = s->reply->copies ? s->reply->copies : 1;

	print_line("logical", s->reply->bytes_logical, "what the files say they hold");
	if (s->reply->deleted_files)
		print_line("deleted", s->reply->deleted_bytes,
			   "of that, in trash for a time: cairn trash");
	snprintf(note, sizeof note, "distinct blocks and manifests, plain: dedup %.2f",
		 s->ratio_dedup);
	print_line("unique", s->bytes_unique, note);
	snprintf(note, sizeof note, "encoded, all %u copies: codec %.2f", copies, s->ratio_codec);
	print_line("stored", s->bytes_stored, note);
	snprintf(note, sizeof note,
		 "on the servers that are there; about %.1f GiB of new unique data",
		 (double)(s->bytes_free / copies) / (double)GiB(1));
	print_line("free", s->bytes_free, note);
}

int cmd_df(int argc, char **argv)
{
	struct command_target a;
	struct status s;
	struct error err = {0};
	int status = COMMAND_DONE;

	if (!status_arguments_parse(argc, argv,
				    "Show what is stored, and what dedup and codecs save.", &a))
		return COMMAND_USAGE;
	if (status_get(a.mds, &s, &err) < 0)
		return command_fail("df", &err);
	if (a.json)
		status = status_print_json(df_json(&s));
	else
		print_people(&s);
	status_finish(&s);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing client.tier. A folder's name may hold colons: sizes are looked for from the end. */
#include "client/tier/tier_options.h"

#include <string.h>

#define AUTO_BYTES_MIN MiB(64)		/* a smaller one would hold no model */

static int complain(struct error *err, int code, const char *text, const char *what)
{
	return error_say(err, code, "tier '%.200s': %s", text, what);
}

/* Cut ":BYTES" off the end of *text. -E_NOENT: there is no such end. */
static int cut_bytes(char *text, uint64_t *out)
{
	char *colon = strrchr(text, ':');
	if (!colon || text_parse_bytes(colon + 1, out) < 0)
		return -E_NOENT;
	*colon = '\0';
	return 0;
}

int tier_option_parse(const char *text, struct tier_option *out, struct error *err)
{
	uint64_t last, before;
	*out = (struct tier_option){ .bytes_max = 0 };
	if (strcmp(text, "auto") == 0)
		return 0;
	if (!text_copy(out->directory, sizeof out->directory, text))
		return complain(err, -E_RANGE, text, "is too long");
	if (cut_bytes(out->directory, &last) < 0)
		return complain(err, -E_INVAL, text, "is neither DIR:BYTES[:KEEP_FREE] "
						     "nor auto nor none");
	out->bytes_max = last;
	if (cut_bytes(out->directory, &before) == 0) {
		out->bytes_max = before;
		out->keep_free = last;
		out->has_keep_free = true;
	}
	if (strcmp(out->directory, "auto") == 0)
		out->directory[0] = '\0';
	else if (out->directory[0] != '/')
		return complain(err, -E_INVAL, text, "the folder is not absolute");
	if (out->bytes_max < TIER_BYTES_MIN)
		return complain(err, -E_RANGE, text, "is smaller than 1M");
	return 0;
}

static bool is_twice(const struct tier_option *options, uint32_t index)
{
	for (uint32_t i = 0; i < index; i++)
		if (strcmp(options[i].directory, options[index].directory) == 0)
			return true;
	return false;
}

int tier_options_parse(const struct config_paths *list, struct tier_option out[TIER_PLACES_MAX],
		       struct error *err)
{
	if (list->count == 1 && strcmp(list->path[0], "none") == 0)
		return 0;
	if (list->count > TIER_PLACES_MAX)
		return error_say(err, -E_RANGE, "more than %u tiers", TIER_PLACES_MAX);
	for (uint32_t i = 0; i < list->count; i++) {
		if (strcmp(list->path[i], "none") == 0)
			return complain(err, -E_INVAL, "none", "stands beside others");
		int rc = tier_option_parse(list->path[i], &out[i], err);
		if (rc < 0)
			return rc;
		if (is_twice(out, i))
			return complain(err, -E_INVAL, list->path[i], "is there twice");
	}
	return (int)list->count;
}

int tier_option_resolve(struct tier_option *option, const struct disk_space *space)
{
	if (!option->has_keep_free)
		option->keep_free = space->bytes_total / 20;
	option->has_keep_free = true;
	if (option->bytes_max != 0)
		return 0;
	uint64_t free = space->bytes_free - MIN_OF(option->keep_free, space->bytes_free);
	uint64_t bytes = MIN_OF(space->bytes_total / 10, free / 2);
	if (bytes < AUTO_BYTES_MIN)
		return -E_NOSPC;
	option->bytes_max = bytes;
	return 0;
}

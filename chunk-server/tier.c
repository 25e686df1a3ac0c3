/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of tiers. */
#include "chunk-server/tier.h"

#include <string.h>

#include "fs/base/text.h"

#define TIERS_MAX 16u

/* --- the setting ---- */

/* Is the entry about this directory? *rest: what it says. */
static bool is_of(const char *entry, const char *directory, const char **rest)
{
	const char *equals = strrchr(entry, '=');
	size_t length = strlen(directory);

	*rest = entry;
	if (equals == NULL)
		return true;
	*rest = equals + 1;
	size_t given = (size_t)(equals - entry);
	while (given > 1 && entry[given - 1] == '/')
		given--;
	while (length > 1 && directory[length - 1] == '/')
		length--;
	return given == length && memcmp(entry, directory, length) == 0;
}

static int parse(const char *entry, const char *word, enum media_kind kind, uint32_t *tier,
		 struct error *err)
{
	if (strcmp(word, "auto") == 0) {
		*tier = media_profile(kind)->rank;
		return 0;
	}
	if (strcmp(word, "none") == 0 && word == entry) {
		*tier = 0;
		return 0;
	}
	size_t digits = strspn(word, "0123456789");
	if (word == entry || digits == 0 || digits > 2 || word[digits] != '\0')
		return error_say(err, -E_INVAL,
				 "cs.tiers: '%s' is none of auto, none, DIRECTORY=NUMBER", entry);
	*tier = 0;
	for (size_t i = 0; i < digits; i++)
		*tier = *tier * 10 + (uint32_t)(word[i] - '0');
	if (*tier >= TIERS_MAX)
		return error_say(err, -E_INVAL, "cs.tiers: '%s': tiers are 0 to %u", entry,
				 TIERS_MAX - 1);
	return 0;
}

int cs_tier_of(const struct config_paths *setting, const char *directory, enum media_kind kind,
	       uint32_t *tier, struct error *err)
{
	const char *word;
	int rc = 0;

	*tier = media_profile(kind)->rank;
	for (uint32_t i = 0; i < setting->count && rc == 0; i++) {
		if (is_of(setting->path[i], directory, &word))
			rc = parse(setting->path[i], word, kind, tier, err);
	}
	return rc;
}

int cs_tier_check(const struct config_paths *setting, const struct config_paths *dirs,
		  struct error *err)
{
	for (uint32_t i = 0; i < setting->count; i++) {
		const char *entry = setting->path[i], *word = entry;
		bool is_there = false;
		uint32_t tier;

		for (uint32_t k = 0; k < dirs->count && !is_there; k++)
			is_there = is_of(entry, dirs->path[k], &word);
		if (!is_there)
			return error_say(err, -E_INVAL, "cs.tiers: '%s' is none of cs.dirs", entry);
		int rc = parse(entry, word, MEDIA_OTHER, &tier, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- the rules ---- */

enum cs_tier_fill cs_tier_fill(const struct cs_tier_room *room)
{
	uint64_t percent = MAX_OF(room->bytes_total / 100, 1u);

	if (room->bytes_taken >= percent * room->high_percent)
		return CS_TIER_FULL;
	return room->bytes_live >= percent * room->low_percent ? CS_TIER_USED : CS_TIER_ROOMY;
}

enum cs_tier_wish cs_tier_wish(enum cs_heat_kind heat, enum cs_tier_fill fill)
{
	if (heat == CS_HOT)
		return CS_TIER_UP;
	if (fill == CS_TIER_FULL || (fill == CS_TIER_USED && heat == CS_COLD))
		return CS_TIER_DOWN;
	return CS_TIER_STAYS;
}

bool cs_tier_rate_take(struct cs_tier_rate *rate, uint64_t bytes_per_s, uint32_t bytes,
		       uint64_t now_ms)
{
	if (bytes_per_s == 0)
		return true;
	uint64_t passed_ms = MIN_OF(now_ms - rate->refilled_ms, 1000u);
	uint64_t most = MAX_OF(bytes_per_s, bytes);
	/* What a short time is worth less than a byte must not be lost again and again. */
	if (passed_ms * bytes_per_s >= 1000) {
		rate->credit = MIN_OF(rate->credit + passed_ms * bytes_per_s / 1000, most);
		rate->refilled_ms = now_ms;
	}
	if (rate->credit < MIN_OF(bytes, bytes_per_s))
		return false;
	rate->credit -= MIN_OF(rate->credit, bytes);
	return true;
}

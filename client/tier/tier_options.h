/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The setting client.tier as text: which folders are tiers, and how large they may grow. Pure.
 *
 *   DIR:BYTES            at most BYTES of files in DIR, 5 % of its file system stays free
 *   DIR:BYTES:KEEP_FREE  so many bytes of its file system stay free
 *   auto                 a folder "tier" in the mount's cache folder: a tenth of its file system,
 *                        half of what is free there at most; auto:BYTES[:KEEP_FREE]: so large
 *   none                 no tier; stands alone
 */
#ifndef CAIRN_CLIENT_TIER_TIER_OPTIONS_H
#define CAIRN_CLIENT_TIER_TIER_OPTIONS_H

#include "client/tier/tier.h"
#include "fs/base/config.h"

#define TIER_BYTES_MIN MiB(1)

struct tier_option {
	char directory[CONFIG_TEXT_BYTES];	/* "": auto */
	uint64_t bytes_max;			/* 0: auto */
	uint64_t keep_free;
	bool has_keep_free;
};

/* One of the list, but none. -E_INVAL, -E_RANGE with a sentence. */
must_check int tier_option_parse(const char *text, struct tier_option *out, struct error *err);
/* The list: how many tiers, at most TIER_PLACES_MAX; -E_INVAL, -E_RANGE with a sentence. */
must_check int tier_options_parse(const struct config_paths *list,
				  struct tier_option out[TIER_PLACES_MAX], struct error *err);
/*
 * What is open in the option, once the file system is known. -E_NOSPC: there is no room for a tier
 * of any use.
 */
must_check int tier_option_resolve(struct tier_option *option, const struct disk_space *space);

#endif

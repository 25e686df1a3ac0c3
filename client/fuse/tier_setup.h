/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tiers of a mount as its settings say: folders, and the store over them. A folder
 * that cannot be used is told of once and left out; a mount without any tier is a mount.
 *
 * Threads: create and destroy while the loop does not run, the rest on the loop.
 */
#ifndef CAIRN_CLIENT_FUSE_TIER_SETUP_H
#define CAIRN_CLIENT_FUSE_TIER_SETUP_H

#include "client/tier/tier.h"
#include "fs/base/config.h"

struct tier_setup;

/*
 * `base` has loop, on_sealed, on_gone and arg; the rest is taken from the settings. -E_INVAL,
 * -E_RANGE: client.tier makes no sense, with a sentence; -E_NOMEM.
 */
must_check int tier_setup_create(const struct config *config, const struct tiers_options *base,
				 struct tier_setup **out, struct error *err);
struct tiers *tier_setup_tiers(const struct tier_setup *s);	/* NULL: there are none */
void tier_setup_start(struct tier_setup *s);
/* done(arg) once, within a few seconds whatever the disks do. */
void tier_setup_stop(struct tier_setup *s, void (*done)(void *arg), void *arg);
void tier_setup_destroy(struct tier_setup *s);			/* NULL is allowed */

#endif

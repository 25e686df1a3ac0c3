/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts of one cluster on this host, as they tell of themselves: for `cairn status`. Each is
 * asked by a process of its own, for a mount whose daemon hangs would keep the asker for ever.
 */
#ifndef CAIRN_TOOLS_LOCAL_MOUNTS_H
#define CAIRN_TOOLS_LOCAL_MOUNTS_H

#include <jansson.h>

#include "fs/base/base.h"

#define LOCAL_MOUNTS_MAX     64u
#define LOCAL_MOUNT_WAIT_MS  1000u	/* for the answers of all, which are asked at once */

/*
 * An array: directory, source, answers, and of those that do: passthrough ("": the kernel reads
 * cached files itself), tiers. Asked are mounts of the port of the metadata server at `mds`,
 * "HOST:PORT"; one that does not answer is listed if its source is that. NULL: out of memory.
 */
json_t *local_mounts(const uint8_t cluster[16], const char *mds);

/*
 * While the metadata server at `mds` is away: a line for each mount whose source it is, with how
 * many calls wait there. No mount is asked, so none can keep the asker. False: there is none.
 */
bool local_mounts_print_waiting(const char *mds);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster on one host: format it, start and stop its processes by name ("mds", "cs2", "client1"),
 * wait until they serve. Built on a layout; `cairn dev` and `cairn up` are thin over this.
 */
#ifndef CAIRN_TOOLS_HOST_H
#define CAIRN_TOOLS_HOST_H

#include "tools/layout.h"

/* Make what is not there yet: metadata directory, empty chunk folders. Data that is there stays. */
must_check int host_format(const struct layout *l, struct error *err);
/* Format csN if its folder is empty: a new disk of that server, or a new server. */
must_check int host_format_server(const struct layout *l, uint32_t index, struct error *err);

/*
 * -E_BUSY: a living mount of another cluster is where that mount is to be; over it nobody would see
 * the other any more. What this cluster left there is fine.
 */
must_check int host_may_mount(const struct layout *l, uint32_t index, struct error *err);

/* Start one process and wait until it serves; running already is fine. */
must_check int host_start(const struct layout *l, const char *name, struct error *err);
/* Stop one cleanly (a client unmounts). Not running is fine. */
must_check int host_stop(const struct layout *l, const char *name, struct error *err);
/*
 * All: mds, chunk servers, then mounts. And back: every one is stopped, the first failure is told.
 */
must_check int host_start_all(const struct layout *l, struct error *err);
must_check int host_stop_all(const struct layout *l, struct error *err);
/* Is this process there? */
bool host_runs(const struct layout *l, const char *name);

#endif

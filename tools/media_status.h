/* SPDX-License-Identifier: Apache-2.0 */
/* What a chunk server told of its disks, codecs and tiers: as JSON, and for people. */
#ifndef CAIRN_TOOLS_MEDIA_STATUS_H
#define CAIRN_TOOLS_MEDIA_STATUS_H

#include <jansson.h>

#include "fs/wire/msg.h"

/* NULL: it told nothing, or nothing that can be read. Free it by media_status_free(). */
Wire__MediaStatus *media_status_read(const Wire__ServerStatus *server);
void media_status_free(Wire__MediaStatus *m); /* NULL is allowed */

/* Keys as in cairn-status(1); NULL allowed: {}. */
json_t *media_status_json(const Wire__MediaStatus *m);
/* A line for each disk. */
void media_status_print_disks(const Wire__MediaStatus *m);
/* What was moved between tiers, in a line; nothing without tiers. */
void media_status_print_tiers(const Wire__MediaStatus *m, uint32_t server);

#endif

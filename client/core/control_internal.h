/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to control*.c: a request of the control plane that this mount answers itself. A function
 * of the table (control.c) looks for the fields of `request` by name, for they are foreign (I8).
 * It returns 0 and has put `reply`, which is NULL if there was no memory; or an error, and no
 * reply. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_CONTROL_INTERNAL_H
#define CAIRN_CLIENT_CORE_CONTROL_INTERNAL_H

#include <jansson.h>

#include "client/core/core.h"

struct cl_control {
	struct cl_op *op;
	struct client *client;
	const json_t *request;
	struct cl_node *node;		/* of requests that name an inode, attributes known */
	json_t *reply;
};

/* Is who asks root, or the owner of the node? NULL: not known here. */
bool cl_control_is_owner(const struct cl_control *ctl, const struct cl_node *node);

/* Tiers, totals, what the mount can. */
must_check int cl_control_report_info(struct cl_control *ctl);
/* What is in the tiers, and pinned inodes: a page behind `after`, and whether there is more. */
must_check int cl_control_report_files(struct cl_control *ctl);
must_check int cl_control_report_pins(struct cl_control *ctl);

#endif

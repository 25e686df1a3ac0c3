/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by oracle.c and oracle_content.c. */
#ifndef CAIRN_TESTS_SIM_ORACLE_INTERNAL_H
#define CAIRN_TESTS_SIM_ORACLE_INTERNAL_H

#include "tests/sim/oracle.h"

/* A violation: this answer cannot be, and why; `p` (may be NULL) shows what could. */
void oracle_call_fail(struct oracle *o, const struct oracle_call *call, const struct possible *p,
		      const char *why);
/* Something was seen: does it match a state that is possible? */
bool oracle_explains(struct oracle *o, struct possible *p, const struct oracle_call *call,
		     possible_match_fn match, void *arg);
/* Its client may see errors. */
bool oracle_is_disturbed(const struct oracle *o, const struct oracle_call *call);
/* It may have been answered by who had not heard of the last power cut that lost something. */
bool oracle_is_after_cut(const struct oracle *o, const struct oracle_call *call);
bool oracle_is_named(const uint16_t *slots, uint16_t node);
/* D2: the names that this client changed, and all that was acknowledged before, are durable. */
void oracle_synced(struct oracle *o, const struct oracle_call *call);

/* What a write or a truncate makes of the cells of a file; false: it cannot. */
bool oracle_content_apply(const struct possible_op *op, uint16_t *values);
/* The end of a call on content. */
void oracle_content_end(struct oracle *o, struct oracle_call *call);
void oracle_content_doubt_write(struct oracle_node *n, const struct oracle_call *call);
void oracle_content_doubt(struct oracle *o, struct oracle_node *n, uint32_t client, bool is_lost);
/* To what the journal kept at a power cut. */
void oracle_content_roll_back(struct oracle_node *n, uint64_t kept_ns, uint64_t now_ns);

#endif
